/** Writes a conversation as lines for export. */

import type { ConversationProfile } from '../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import type { HistoryViewName } from '../../conversations/object/conversations.schema.ts';
import { ROWS_PER_READ } from '../../conversations/views/message-json.ts';
import { findShownRanges, type ShownMessageRange } from '../../conversations/views/view-rows.ts';
import { formatConversationJson, formatShownMessages, formatStoredMessages } from '../../conversations/views/views.ts';
import { createTextStream } from '../../kit/http/text-stream.ts';

/**
 * Writes a conversation as lines of JSON: its fields, its messages, and a last line which shows that the export is complete (an
 * interrupted stream looks complete).
 */
export function createExportStream(
  profile: ConversationProfile,
  transcript: Transcript,
  view?: HistoryViewName,
): ReadableStream<Uint8Array> {
  const own = formatConversationJson(profile, transcript, undefined);
  function* generateExportLines(): Generator<string> {
    yield removeLineBreaks(own);
    let messages = 0;
    const rows =
      view === 'shown'
        ? iterateVisibleMessages(transcript)
        : formatStoredMessages(transcript, 0, Number.MAX_SAFE_INTEGER);
    for (const pieces of rows) {
      messages += 1;
      let between = '\n';
      for (const piece of pieces) {
        yield between + removeLineBreaks(piece);
        between = '';
      }
    }
    yield `\n${JSON.stringify({ type: 'end', messages })}\n`;
  }
  return createTextStream(generateExportLines());
}

/** @returns a piece of JSON without its line ends. They occur only between members, never in a string. */
export function removeLineBreaks(json: string): string {
  return json.replaceAll(/[\r\n]/g, ' ');
}

/** Looks for the rows of a whole history some at a time, too. */
function* iterateVisibleMessages(transcript: Transcript): Generator<Iterable<string>> {
  const { ids } = transcript.edgeCalls;
  const some = { isBackwards: false, pending: false, limit: ROWS_PER_READ };
  for (let last: ShownMessageRange | undefined; ; ) {
    const found = findShownRanges(transcript, last?.to, some, ids);
    yield* formatShownMessages(transcript, found, false, undefined, ids);
    last = found.at(-1);
    if (!last) return;
  }
}
