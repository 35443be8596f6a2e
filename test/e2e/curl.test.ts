/** What curl sends by itself, against the Worker as it is deployed, with nothing before the runtime that would change it. */

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, inject, onTestFinished, test } from 'vitest';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { type FakeUpstream, startUpstream } from '#test/support/upstream.ts';

const MODEL = 'claude-haiku-5-5';
/** Above 1 MB curl asks by `expect: 100-continue` whether it may send a body. */
const LONG = 'a word '.repeat(160_000);
const ASK = { model: MODEL, max_tokens: 1_000, messages: [{ role: 'user', content: LONG }] };

const AT = '2026-11-20T00:00:00Z';
const COUNTS = { processing: 1, succeeded: 0, errored: 0, canceled: 0, expired: 0 };
/** What the API answers on a path. */
const ANSWERS: Record<string, object> = {
  '/v1/messages': {
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model: MODEL,
    content: [{ type: 'text', text: 'Yes.' }],
    stop_reason: 'end_turn',
    usage: { input_tokens: 320_000, output_tokens: 2 },
  },
  '/v1/messages/count_tokens': { input_tokens: 320_000 },
  '/v1/messages/batches': {
    id: 'msgbatch_1',
    type: 'message_batch',
    processing_status: 'in_progress',
    request_counts: COUNTS,
    created_at: AT,
    expires_at: '2026-11-21T00:00:00Z',
    ended_at: null,
    results_url: null,
  },
  '/v1/files': {
    id: 'file_1',
    type: 'file',
    filename: 'a.txt',
    mime_type: 'text/plain',
    size_bytes: 9,
    created_at: AT,
  },
};

let upstream: FakeUpstream;
let edge: Edge;

/** Whether the upstream says first that it works, unasked. */
let saysFirst = false;

beforeAll(async () => {
  upstream = await startUpstream(({ path }, response) => {
    const answer = ANSWERS[path];
    if (saysFirst) response.writeProcessing();
    // Whoever takes `100 Continue` for the answer would wait for the end of the connection.
    response.writeHead(answer ? 200 : 404, { 'content-type': 'application/json', connection: 'close' });
    response.end(JSON.stringify(answer ?? { type: 'error', error: { type: 'not_found_error', message: path } }));
  });
  edge = await startEdge(inject('worker'), {
    ANTHROPIC_API_KEY: 'sk-ant-the-key',
    ANTHROPIC_BASE_URL: upstream.url,
  });
});

afterAll(async () => {
  await edge.stop();
  await upstream.stop();
});

/** Sends a body by curl. @returns what it got, and the headers that it has sent */
async function curl(path: string, body: string, how: readonly string[]): Promise<{ text: string; sent: string }> {
  // It need not wait: the edge answers nothing before the body.
  const quick = ['--silent', '--verbose', '--expect100-timeout', '0.001'];
  const asking = promisify(execFile)('curl', [...quick, edge.url + path, ...how]);
  asking.child.stdin?.end(body);
  const { stdout, stderr } = await asking;
  return { text: stdout, sent: stderr };
}

const JSON_BODY = ['--header', 'content-type: application/json', '--data-binary', '@-'];

test.each([
  ['a message', '/v1/messages', ASK, JSON_BODY, '"text":"Yes."'],
  ['a turn', '/v1/messages', { ...ASK, conversation: 'c1' }, JSON_BODY, '"text":"Yes."'],
  ['a count', '/v1/messages/count_tokens', ASK, JSON_BODY, '"input_tokens":320000'],
  ['a batch', '/v1/messages/batches', { requests: [{ custom_id: 'a', params: ASK }] }, JSON_BODY, '"in_progress"'],
  ['a file', '/v1/files', LONG, ['--form', 'file=@-;filename=a.txt;type=text/plain'], '"id":"file_1"'],
])(
  '%s of more than 1 MB from curl succeeds, and the Expect header is not forwarded',
  async (_, path, body, how, part) => {
    upstream.receivedRequests.length = 0;
    const { text, sent } = await curl(path, typeof body === 'string' ? body : JSON.stringify(body), how);
    expect(sent).toMatch(/^> Expect: 100-continue/m);
    expect(text).toContain(part);
    const received = upstream.receivedRequests.filter((one) => one.method === 'POST' && one.path === path);
    expect(received).toHaveLength(1);
    expect(received[0]?.headers).not.toHaveProperty('expect');
    expect(received[0]?.body.includes(LONG)).toBe(true);
  },
);

test.each([
  ['/v1/messages', ASK, '"text":"Yes."'],
  ['/messages', { ...ASK, conversation: 'c2', stream: false }, '"text":"Yes."'],
  ['/v1/messages/batches', { requests: [{ custom_id: 'b', params: ASK }] }, '"in_progress"'],
])('an informational status below 200 before the response of %s is skipped', async (path, body, part) => {
  saysFirst = true;
  onTestFinished(() => {
    saysFirst = false;
  });
  const { text } = await curl(path, JSON.stringify(body), JSON_BODY);
  expect(text).toContain(part);
});
