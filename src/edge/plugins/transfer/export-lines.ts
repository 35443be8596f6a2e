/** Writes a conversation for whoever takes it away. */

import type { Profile } from '../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import type { View } from '../../conversations/object/conversations.schema.ts';
import { ROWS_PER_READ } from '../../conversations/views/message-json.ts';
import { type ShownRange, shownRanges } from '../../conversations/views/view-rows.ts';
import { describe, shownTexts, storedTexts } from '../../conversations/views/views.ts';
import { createTextStream } from '../../kit/http/text-stream.ts';

/**
 * Writes a conversation as lines of JSON: its fields, its messages, and a last line that says that the export is complete
 * (an interrupted stream looks complete).
 */
export function exportLines(profile: Profile, transcript: Transcript, view?: View): ReadableStream<Uint8Array> {
  const own = describe(profile, transcript, undefined);
  function* lines(): Generator<string> {
    yield withoutLineEnds(own);
    let messages = 0;
    const rows = view === 'shown' ? findAllVisible(transcript) : storedTexts(transcript, 0, Number.MAX_SAFE_INTEGER);
    for (const pieces of rows) {
      messages += 1;
      let between = '\n';
      for (const piece of pieces) {
        yield between + withoutLineEnds(piece);
        between = '';
      }
    }
    yield `\n${JSON.stringify({ type: 'end', messages })}\n`;
  }
  return createTextStream(lines());
}

/** @returns a piece of JSON without its line ends. They occur only between members, never in a string. */
export function withoutLineEnds(json: string): string {
  return json.replaceAll(/[\r\n]/g, ' ');
}

/** Looks for the rows of a whole history some at a time, too. */
function* findAllVisible(transcript: Transcript): Generator<Iterable<string>> {
  const { ids } = transcript.calls;
  const some = { isBackwards: false, pending: false, limit: ROWS_PER_READ };
  for (let last: ShownRange | undefined; ; ) {
    const found = shownRanges(transcript, last?.to, some, ids);
    yield* shownTexts(transcript, found, false, undefined, ids);
    last = found.at(-1);
    if (!last) return;
  }
}
