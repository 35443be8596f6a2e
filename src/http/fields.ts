/** Fields that many answers have, as the reference describes them. */
import * as z from './zod.ts';

export const count = z.int().check(z.gte(0));
export const usd = z.described(z.number(), 'US dollars, at most nine decimals.');
export const time = z.iso.datetime();
