import { SMALL_MESSAGE } from '../../support/small-message.ts';
import { type FakeUpstream, startUpstream } from '../../support/upstream.ts';
import { blockEnd, end, PING, start, TEXT_BEGINS, textBlock, textDelta } from '../../support/wire.ts';
import { ANSWER, times, WORD } from './row.ts';

const BATCH = {
  ...{ type: 'message_batch', processing_status: 'in_progress', ended_at: null, cancel_initiated_at: null },
  ...{ created_at: '2026-11-20T12:00:00Z', expires_at: '2026-11-21T12:00:00Z', archived_at: null, results_url: null },
};
const COUNTS = { processing: 1, succeeded: 0, errored: 0, canceled: 0, expired: 0 };

/** The answer to whoever asks for a label. */
const LABELLED = [{ type: 'text', text: '{"label":"red"}' }];
/** @returns a line of the results of a batch */
const resultOf = (custom_id: string) =>
  `${JSON.stringify({ custom_id, result: { type: 'succeeded', message: { ...SMALL_MESSAGE, content: LABELLED } } })}\n`;

const begun = start({ ...SMALL_MESSAGE, content: [], stop_reason: null });

const STREAMS: Record<string, (n: number) => string> = {
  deltas: (n) => textBlock(times(n, () => 'word ')),
  blocks: (n) => times(n, (index) => textBlock(['word '], index)).join(''),
  characters: (n) => textBlock(['x'.repeat(n)]),
  pings: (n) => PING.repeat(n),
};

const CONTENTS: Record<string, (n: number) => object[]> = {
  content: (n) => times(n, () => ({ type: 'text', text: 'word' })),
  calls: (n) => times(n, (nth) => ({ type: 'tool_use', id: `toolu_${nth}`, name: 'pay', input: {} })),
};

/** An upstream that can hold answers back before their ends. */
export interface HoldingUpstream extends FakeUpstream {
  /** Says that somebody has read all of the held answers so far. */
  letGo(): void;
}

/** Starts an upstream that answers as the header `x-answer` says: a short message, or something many times. */
export async function answeringUpstream(): Promise<HoldingUpstream> {
  let batches = 0;
  /** What is in the batches that have ended, by their ids. */
  const ended = new Map<string, string[]>();
  const held: { readers: number; end: () => void }[] = [];
  const upstream = await startUpstream(({ path, method, headers, body }, response) => {
    const json = (body: object) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    if (path.includes('/count_tokens')) return json({ input_tokens: 1 });
    if (path.includes('/files')) return json({ id: 'file_1', type: 'file', filename: 'a', size_bytes: 1 });
    const [what = '', n = '1', readers = '1'] = String(headers[ANSWER] ?? '').split(' ');
    if (path.includes('/batches')) {
      const ids = ended.get(/batches\/(\w+)/.exec(path)?.[1] ?? '');
      if (ids !== undefined && path.endsWith('/results')) {
        response.writeHead(200, { 'content-type': 'application/x-jsonl' });
        response.end(ids.map(resultOf).join(''));
        return;
      }
      if (ids !== undefined) {
        const over = { processing_status: 'ended', ended_at: BATCH.created_at, results_url: `${path}/results` };
        const request_counts = { ...COUNTS, processing: 0, succeeded: ids.length };
        return json({ ...BATCH, ...over, id: path.split('/').at(-1), request_counts });
      }
      if (method === 'GET' && !/batches\/\w/.test(path)) return json({ data: [], has_more: false });
      batches += 1;
      const id = `msgbatch_${batches}`;
      if (what === 'results')
        ended.set(
          id,
          [...String(body).matchAll(/"custom_id":"([^"]+)"/g)].map(([, one = '']) => one),
        );
      return json({ ...BATCH, id, request_counts: COUNTS });
    }
    if (what === 'held') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(begun + TEXT_BEGINS + textDelta(WORD).repeat(Number(n)));
      held.push({ readers: Number(readers), end: () => response.end(blockEnd() + end({ output_tokens: 100 })) });
      return;
    }
    const stream = STREAMS[what];
    if (stream) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end(begun + stream(Number(n)) + end({ output_tokens: 100 }));
      return;
    }
    const content = body.includes('"json_schema"') ? LABELLED : CONTENTS[what]?.(Number(n));
    json({ ...SMALL_MESSAGE, ...(content && { content, stop_reason: what === 'calls' ? 'tool_use' : 'end_turn' }) });
  });
  return {
    ...upstream,
    letGo: () => {
      for (const answer of held.splice(0)) {
        answer.readers -= 1;
        if (answer.readers > 0) held.push(answer);
        else answer.end();
      }
    },
  };
}
