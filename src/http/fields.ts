/** Schemas of fields that many answers have. */
import * as z from './zod.ts';

export const count = z.int().check(z.gte(0));
export const usd = z.described(z.number(), 'US dollars, at most nine decimals.');
export const time = z.iso.datetime();
