/** Fields that many answers have, as the reference describes them. */
import * as z from 'zod';

export const count = z.int().min(0);
export const usd = z.number().describe('US dollars, at most nine decimals.');
export const time = z.iso.datetime();
