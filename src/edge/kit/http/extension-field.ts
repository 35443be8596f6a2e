import { invalidRequest } from './errors.ts';
import { validate } from './validate.ts';
import type * as z from './zod.ts';

/**
 * Reads an extension field of a request: from its body, or from the header `sluice-<name>` of a client that cannot add one.
 *
 * @param schema the schema of an object with only this field
 * @param field the field's name in the body
 * @returns undefined if neither is present
 * @throws ApiError 400 for a malformed value, and if body and header differ
 */
export function extensionField<Name extends string>(
  name: Name,
  schema: z.ZodMiniType<Record<Name, string>>,
  field: unknown,
  headers: Headers,
): string | undefined {
  const header = headers.get(`sluice-${name}`) ?? undefined;
  const given = field === undefined ? header : field;
  if (given === undefined) return undefined;
  const { [name]: value } = validate(schema, { [name]: given });
  if (header === undefined || header === value) return value;
  throw invalidRequest(`${name}: the body and the header sluice-${name} name different ones. Send one.`);
}
