/** Streams an export to the caller. An interrupted body would look complete, so the last line reports that it is not. */

import { decoder, encoder } from '../../kit/http/bytes.ts';
import { ApiError, createErrorBody } from '../../kit/http/errors.ts';
import { LINE_FEED } from '../../kit/json/characters.ts';

/** The last line of a complete export. */
const EXPORT_END = /^\{"type":"end","messages":\d+\}\n$/;

/** Copies the lines, and adds an `error` line if the object died. @param waitUntil keeps the request alive until the end */
export function appendErrorLineIfCut(
  lines: ReadableStream<Uint8Array>,
  requestId: string,
  waitUntil: (work: Promise<unknown>) => void,
): ReadableStream<Uint8Array> {
  const { readable, writable } = new IdentityTransformStream();
  waitUntil(copyExportWithErrorLine(lines, writable, requestId).catch(() => {}));
  return readable;
}

async function copyExportWithErrorLine(
  lines: ReadableStream<Uint8Array>,
  writable: WritableStream,
  requestId: string,
): Promise<void> {
  const reader = lines.getReader();
  const writer = writable.getWriter();
  let last = '';
  try {
    for (;;) {
      const { value } = await reader.read().catch(() => ({ value: undefined }));
      if (!value) break;
      last = getLastLineEnd(last, value);
      await writer.write(value);
    }
    if (!EXPORT_END.test(last)) {
      const error = new ApiError(
        'api_error',
        'The export ended early. Request it again. If it ends here again, the following rows are damaged; tell the operator.',
      );
      const cut = last === '' || last.endsWith('\n') ? '' : '\n';
      await writer.write(encoder.encode(`${cut}${JSON.stringify(createErrorBody(error, requestId))}\n`));
    }
    await writer.close();
  } catch (thrown) {
    // Writing failed because the caller has disconnected, so stop reading.
    await reader.cancel(thrown);
  }
}

const LONGEST_END = 100;

/** @returns at most the last 100 characters of the last line, finished or not. */
function getLastLineEnd(before: string, piece: Uint8Array): string {
  const start = piece.length > 1 ? piece.lastIndexOf(LINE_FEED, piece.length - 2) + 1 : 0;
  const tail = decoder.decode(piece.subarray(Math.max(start, piece.length - LONGEST_END)));
  const line = start === 0 && !before.endsWith('\n') ? before + tail : tail;
  return line.slice(-LONGEST_END);
}
