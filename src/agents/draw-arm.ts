/** Draws the arm of a conversation, and its group. */

import { sha256Hex, utf8 } from '../http/bytes.ts';
import { CHOICE_GROUPS } from '../pricing/choice-sums.ts';

const SHARE_DIGITS = 8;
const GROUP_DIGITS = 4;

/**
 * Draws by a hash of a name: so each try comes out alike.
 *
 * @param secret without it nobody can choose a name that is drawn
 * @returns a number from 0 to below 1, and one of the groups of conversations
 */
export async function drawOf(name: string, secret = ''): Promise<{ share: number; group: number }> {
  const digits = await sha256Hex(utf8(`${secret}\n${name}`));
  const share = Number.parseInt(digits.slice(0, SHARE_DIGITS), 16) / 16 ** SHARE_DIGITS;
  return { share, group: Number.parseInt(digits.slice(-GROUP_DIGITS), 16) % CHOICE_GROUPS };
}
