/** Reads values of a body by JSON Pointers (RFC 6901). */
import * as z from '../../../kit/http/zod.ts';
import { isObject } from '../../../kit/json/object.ts';

const LONGEST = 256;
/** A `~` is only valid in `~0` and `~1`. */
const POINTER = /^(?:\/(?:[^~/]|~[01])*)+$/;
const INDEX = /^(?:0|[1-9]\d*)$/;

export const jsonPointer = z
  .string('must be a JSON Pointer such as /data/message')
  .check(z.maxLength(LONGEST), z.regex(POINTER, 'must be a JSON Pointer such as /data/message'));

/**
 * Reads the value to which a pointer leads.
 *
 * @returns a string, number or boolean as text; undefined for any other value, and where there is none. Properties that a body
 *   only inherits, such as `constructor`, do not count
 */
export function readTextAtPointer(body: unknown, pointer: string): string | undefined {
  let value = body;
  for (const step of pointer.split('/').slice(1)) {
    const name = step.replaceAll('~1', '/').replaceAll('~0', '~');
    if (Array.isArray(value) ? !INDEX.test(name) : !isObject(value)) return undefined;
    const holder = value as Record<string, unknown>;
    if (!Object.hasOwn(holder, name)) return undefined;
    value = holder[name];
  }
  return ['string', 'number', 'boolean'].includes(typeof value) ? String(value) : undefined;
}
