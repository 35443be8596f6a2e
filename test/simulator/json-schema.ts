import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';

const ajv = new Ajv2020({ strict: false, allErrors: true, ownProperties: true, multipleOfPrecision: 6 });
formats.default(ajv);

/** Tells what is wrong with a value; nothing if it satisfies the schema. */
export function faultsOf(value: unknown, schema: unknown): string[] {
  const validate = ajv.compile(schema as object);
  validate(value);
  return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath}: ${message}`);
}
