import { createValueChecker } from '../../kit/json/json-schema.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import { resolveSchemaReferences } from '../../kit/json/schema-references.ts';

/**
 * Checks the input of a call against the schema of its tool. An input is not checked if its schema is recursive or too large, or
 * if the check would take too long.
 *
 * @returns the error for the model; undefined for an input that fits
 */
export function findInputMismatch(input: unknown, schema: JsonObject | undefined): string | undefined {
  const { schema: resolved } = schema ? resolveSchemaReferences(schema) : {};
  const fault = resolved && createValueChecker(resolved, { root: 'input' })(input);
  return fault && !fault.isUnchecked
    ? `The input does not fit the tool, which was not called. ${fault.path}: ${fault.problem}`
    : undefined;
}
