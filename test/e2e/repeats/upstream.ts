import { SMALL_MESSAGE } from '#test/support/small-message.ts';
import { type FakeUpstream, startUpstream } from '#test/support/upstream.ts';
import { messageEnd, messageStart, textBlock } from '#test/support/wire.ts';
import { ANSWER, times } from './rows.ts';

const BATCH = {
  type: 'message_batch',
  processing_status: 'in_progress',
  ended_at: null,
  cancel_initiated_at: null,
  created_at: '2026-11-20T12:00:00Z',
  expires_at: '2026-11-21T12:00:00Z',
  archived_at: null,
  results_url: null,
  request_counts: { processing: 1, succeeded: 0, errored: 0, canceled: 0, expired: 0 },
};

const STREAMS: Record<string, (n: number) => string> = {
  deltas: (n) => textBlock(times(n, () => 'word ')),
  characters: (n) => textBlock(['x'.repeat(n)]),
};

/** Starts an upstream that answers as the header `x-answer` says: a short message, or something many times. */
export async function answeringUpstream(): Promise<FakeUpstream> {
  let batches = 0;
  return await startUpstream(({ path, method, headers }, response) => {
    const json = (body: object) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    if (path.includes('/count_tokens')) return json({ input_tokens: 1 });
    if (path.includes('/batches')) {
      if (method === 'GET' && !/batches\/\w/.test(path)) return json({ data: [], has_more: false });
      batches += 1;
      return json({ ...BATCH, id: `msgbatch_${batches}` });
    }
    const [what = '', n = '1'] = String(headers[ANSWER] ?? '').split(' ');
    const stream = STREAMS[what];
    if (stream) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end(
        messageStart({ ...SMALL_MESSAGE, content: [], stop_reason: null }) +
          stream(Number(n)) +
          messageEnd({ output_tokens: 100 }),
      );
      return;
    }
    const content = what === 'content' && times(Number(n), () => ({ type: 'text', text: 'word' }));
    json({ ...SMALL_MESSAGE, ...(content && { content }) });
  });
}
