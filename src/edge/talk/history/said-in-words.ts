/** Has summaries go up in words where another upstream answers now than the one that has made their blocks. */

import { sayInWords } from '../../rooms/summaries/summarize.ts';
import type { Transcript } from '../storage/transcript.ts';
import { latestTurn } from '../storage/turn-queries.ts';
import { ANSWERED } from './new-messages.ts';

/**
 * Has the words of each block go up that could go up next and that another upstream has made.
 *
 * @param place the upstream that answers now, if it makes blocks
 */
export function sayOthersInWords(transcript: Transcript, place: string | undefined): void {
  const { summaries, profile } = transcript;
  // A tool loop goes on behind what it has begun behind, which may be another one than the latest.
  const looped = latestTurn(transcript, [...ANSWERED, 'empty'])?.sentFrom ?? 0;
  for (const id of new Set([summaries.latest()?.id ?? 0, -looped, -(profile?.sentFrom ?? 0)])) {
    const own = id > 0 ? summaries.get(id)?.place : null;
    if (own && own !== place) sayInWords(transcript, id);
  }
}
