import { SMALL_MESSAGE } from '../../support/small-message.ts';
import { type FakeUpstream, startUpstream } from '../../support/upstream.ts';
import { ANSWER, times } from './row.ts';

const BATCH = {
  ...{ type: 'message_batch', processing_status: 'in_progress', ended_at: null, cancel_initiated_at: null },
  ...{ created_at: '2026-11-20T12:00:00Z', expires_at: '2026-11-21T12:00:00Z', archived_at: null, results_url: null },
};
const COUNTS = { processing: 1, succeeded: 0, errored: 0, canceled: 0, expired: 0 };

const event = (data: { type: string }) => `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`;
const begun = { type: 'message_start', message: { ...SMALL_MESSAGE, content: [], stop_reason: null } };
const ended = [
  { type: 'message_delta', delta: { stop_reason: 'end_turn', stop_sequence: null }, usage: { output_tokens: 100 } },
  { type: 'message_stop' },
];
const block = (index: number, deltas: { type: string }[]) => [
  { type: 'content_block_start', index, content_block: { type: 'text', text: '' } },
  ...deltas.map((delta) => ({ type: 'content_block_delta', index, delta })),
  { type: 'content_block_stop', index },
];
const says = (text: string) => ({ type: 'text_delta', text });

const STREAMS: Record<string, (n: number) => { type: string }[]> = {
  deltas: (n) =>
    block(
      0,
      times(n, () => says('word ')),
    ),
  blocks: (n) => times(n, (index) => block(index, [says('word ')])).flat(),
  characters: (n) => block(0, [says('x'.repeat(n))]),
  pings: (n) => times(n, () => ({ type: 'ping' })),
};

/** The answer to whoever asks for a label. */
const LABELLED = [{ type: 'text', text: '{"label":"red"}' }];
const CONTENTS: Record<string, (n: number) => object[]> = {
  content: (n) => times(n, () => ({ type: 'text', text: 'word' })),
  calls: (n) => times(n, (nth) => ({ type: 'tool_use', id: `toolu_${nth}`, name: 'pay', input: {} })),
};

/** Starts an upstream that answers as the header `x-answer` says: a short message, or something many times. */
export async function answeringUpstream(): Promise<FakeUpstream> {
  let batches = 0;
  return await startUpstream(({ path, method, headers, body }, response) => {
    const json = (body: object) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    if (path.includes('/count_tokens')) return json({ input_tokens: 1 });
    if (path.includes('/files')) return json({ id: 'file_1', type: 'file', filename: 'a', size_bytes: 1 });
    if (path.includes('/batches')) {
      batches += 1;
      const isList = method === 'GET' && !/batches\/\w/.test(path);
      return json(
        isList ? { data: [], has_more: false } : { ...BATCH, id: `msgbatch_${batches}`, request_counts: COUNTS },
      );
    }
    const [what = '', n = '1'] = String(headers[ANSWER] ?? '').split(' ');
    const stream = STREAMS[what];
    if (stream) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end([begun, ...stream(Number(n)), ...ended].map(event).join(''));
      return;
    }
    const content = body.includes('"json_schema"') ? LABELLED : CONTENTS[what]?.(Number(n));
    json({ ...SMALL_MESSAGE, ...(content && { content, stop_reason: what === 'calls' ? 'tool_use' : 'end_turn' }) });
  });
}
