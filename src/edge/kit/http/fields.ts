/** Schemas of fields that many answers have. */
import * as z from './zod.ts';

export const count = z.int().check(z.gte(0));
/** Milliseconds since 1970, as far as a date can be. */
export const instant = count.check(z.lte(8.64e15));
export const usd = z.addDescription(z.number(), 'US dollars, at most nine decimals.');
export const time = z.iso.datetime();

/** Creates the schema of the field `type` of an object of this API. */
export function createObjectTypeSchema<T extends string>(name: T): z.ZodMiniLiteral<T> {
  return z.addDescription(z.literal(name), `The type of the object: always \`${name}\`.`);
}
