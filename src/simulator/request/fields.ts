import { describeTagFault } from '../../api-rules/field-types.ts';
import { isJsonObject, type Json, type JsonObject } from '../../api-rules/json.ts';
import { formatQuotedList } from '../../api-rules/quoted-list.ts';
import { createInvalidRequestError } from './errors.ts';

// These functions check single values, with the API's wording. `path` is the position of the value in the API's notation, for
// example `messages.0.content.1.image.source`.

/** Reads a string; 400 for an absent value or another type. */
export function readRequiredString(value: Json | undefined, path: string): string {
  if (value === undefined) throw createInvalidRequestError(`${path}: Field required`);
  if (typeof value !== 'string') throw createInvalidRequestError(`${path}: Input should be a valid string`);
  return value;
}

/** Reads a string, or undefined for an absent value and null. */
export function readOptionalString(value: Json | undefined, path: string): string | undefined {
  return value === undefined || value === null ? undefined : readRequiredString(value, path);
}

/** Reads a boolean, or undefined for an absent value and null. */
export function readOptionalBoolean(value: Json | undefined, path: string): boolean | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'boolean') throw createInvalidRequestError(`${path}: Input should be a valid boolean`);
  return value;
}

/** Reads an integer that is at least `minimum`; 400 for an absent value, another type or a smaller one. */
export function readRequiredInteger(value: Json | undefined, path: string, minimum: number): number {
  if (value === undefined) throw createInvalidRequestError(`${path}: Field required`);
  if (typeof value !== 'number') throw createInvalidRequestError(`${path}: Input should be a valid integer`);
  if (!Number.isInteger(value)) {
    throw createInvalidRequestError(`${path}: Input should be a valid integer, got a number with a fractional part`);
  }
  if (value < minimum) throw createInvalidRequestError(`${path}: Input should be greater than or equal to ${minimum}`);
  return value;
}

/** Reads a number from 0 to `most`, or undefined for an absent value and null. */
export function readOptionalNumber(value: Json | undefined, path: string, maximum: number): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'number') throw createInvalidRequestError(`${path}: Input should be a valid number`);
  if (value < 0 || value > maximum)
    throw createInvalidRequestError(`${path}: range: ${Number.isFinite(maximum) ? `0..${maximum}` : '>=0'}`);
  return value;
}

/** Reads a list; 400 for an absent value or another type. */
export function readRequiredList(value: Json | undefined, path: string): Json[] {
  if (value === undefined) throw createInvalidRequestError(`${path}: Field required`);
  if (!Array.isArray(value)) throw createInvalidRequestError(`${path}: Input should be a valid list`);
  return value;
}

/** Reads an object; 400 for an absent value or another type. */
export function readRequiredObject(value: Json | undefined, path: string): JsonObject {
  if (value === undefined) throw createInvalidRequestError(`${path}: Field required`);
  if (!isJsonObject(value)) {
    throw createInvalidRequestError(`${path}: Input should be a valid dictionary or object to extract fields from`);
  }
  return value;
}

/** Reads one of the given strings, or undefined for an absent value and null. */
export function readOptionalChoice<const Choice extends string>(
  value: Json | undefined,
  choices: readonly Choice[],
  path: string,
): Choice | undefined {
  if (value === undefined || value === null) return undefined;
  const choice = choices.find((entry) => entry === value);
  if (choice === undefined) throw createInvalidRequestError(`${path}: Input should be ${formatQuotedList(choices)}`);
  return choice;
}

/** Reads the `type` of an object, one of those expected; 400 for an absent or unknown one. */
export function readRequiredType<const Tag extends string>(
  object: JsonObject,
  tags: readonly Tag[],
  path: string,
): Tag {
  const { type } = object;
  const tag = tags.find((entry) => entry === type);
  if (tag !== undefined) return tag;
  throw createInvalidRequestError(`${path}: ${describeTagFault(type, tags)}`);
}

/** Rejects all keys except the given ones. `path` is that of the object, empty for the body itself. */
export function rejectUnknownKeys(object: JsonObject, keys: ReadonlySet<string>, path: string): void {
  const extra = Object.keys(object).find((key) => !keys.has(key));
  if (extra === undefined) return;
  throw createInvalidRequestError(
    `${path === '' ? '' : `${path}.`}${extra.slice(0, 100)}: Extra inputs are not permitted`,
  );
}
