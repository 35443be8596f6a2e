/** Long answers in a heap of 90 MB: the tests in workerd share one heap, which has no limit. */
import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LedgerRow } from '#edge/money/account/usage-answers.schema.ts';
import { type Edge, startEdgeWithHeap } from '#test/support/edge.ts';
import { MODEL, SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, SECRET } from '#test/support/tokens.ts';
import { type FakeUpstream, startUpstream } from '#test/support/upstream.ts';
import { blockEnd, messageEnd, messageStart, TEXT_BLOCK_START, textDelta } from '#test/support/wire.ts';

/** An isolate has 128 MB, of which buffers and the code take a part. */
const HEAP_MB = 90;
/** So much that the letters can be. */
const OUTPUT = 4_000_000;
const TOO_LONG = 'The response is longer than 16 MB';

let upstream: FakeUpstream;
let edge: Edge;
let pieces: Iterable<string> = [];

beforeAll(async () => {
  upstream = await startUpstream((_, response) => void send(response));
  const settings = { SIGNING_SECRET: SECRET, ANTHROPIC_API_KEY: 'sk-ant-test', ANTHROPIC_BASE_URL: upstream.url };
  edge = await startEdgeWithHeap(HEAP_MB, settings);
});

afterAll(async () => {
  await edge.stop();
  await upstream.stop();
});

async function send(response: ServerResponse): Promise<void> {
  let isLeft = false;
  let goOn = () => {};
  response
    .on('drain', () => goOn())
    .on('close', () => {
      isLeft = true;
      goOn();
    });
  for (const piece of pieces) {
    if (!response.headersSent) {
      response.writeHead(200, { 'content-type': piece.startsWith('{') ? 'application/json' : 'text/event-stream' });
    }
    if (isLeft) return;
    if (response.write(piece)) continue;
    await new Promise<void>((resolve) => {
      goOn = resolve;
    });
  }
  response.end();
}

function* streamed(megabytes: number, perDelta: number): Iterable<string> {
  yield messageStart({ model: MODEL }) + TEXT_BLOCK_START;
  for (let left = megabytes * 1_000_000; left > 0; left -= perDelta) yield textDelta('x'.repeat(perDelta));
  yield blockEnd() + messageEnd({ output_tokens: OUTPUT });
}

const whole = (megabytes: number) => [
  JSON.stringify({
    ...SMALL_MESSAGE,
    usage: { input_tokens: 10, output_tokens: OUTPUT },
    content: [{ type: 'text', text: 'x'.repeat(megabytes * 1_000_000) }],
  }),
];

test.each([
  ['15 MB in many deltas', () => streamed(15, 1_000), true],
  ['15 MB in one delta', () => streamed(15, 15_000_000), true],
  ['15 MB, whole', () => whole(15), false],
  ['30 MB in many deltas', () => streamed(30, 1_000), true],
  ['30 MB in one delta', () => streamed(30, 30_000_000), true],
  ['30 MB, whole', () => whole(30), false],
])('the runtime survives a response of %s, and the response reports if it is too long', async (name, given, stream) => {
  pieces = given();
  const account = name.replaceAll(/\W+/g, '-');
  const headers = { 'content-type': 'application/json', ...bearerHeader(await createToken(account)) };
  const messages = [{ role: 'user', content: 'Hi' }];
  const body = JSON.stringify({ model: MODEL, max_tokens: 1_000, stream, conversation: 'long', messages });
  const response = await fetch(`${edge.url}/v1/messages`, { method: 'POST', headers, body });
  let [bytes, last] = [0, ''];
  for await (const piece of response.body ?? []) {
    bytes += piece.length;
    last = new TextDecoder().decode(piece);
  }
  const isTooLong = name.startsWith('30');
  if (isTooLong) expect(last).toContain(TOO_LONG);
  else expect(bytes).toBeGreaterThan(15_000_000);
  const list = async () => {
    const { data } = (await (await fetch(`${edge.url}/usage/requests`, { headers })).json()) as { data: LedgerRow[] };
    return data.map(({ estimated, cost_usd }) => ({ estimated, costs: cost_usd > 0 }));
  };
  await expect.poll(list).toEqual([{ estimated: isTooLong, costs: true }]);
});
