import { createAnthropic } from '@ai-sdk/anthropic';
import { streamText } from 'ai';
import { expect, test } from 'vitest';
import { TEXT_STREAM, TOOL_STREAM } from '#test/fixtures/streams.ts';
import { requestEdge } from '#test/support/agents.ts';
import { createBody, createTestApp, readError } from '#test/support/app.ts';
import { SDKS } from '#test/support/sdks.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { sseResponse } from '#test/support/wire.ts';

const ASK = { model: 'claude-haiku-4-5', max_tokens: 20, messages: [{ role: 'user' as const, content: 'Hi' }] };
const LIMITED = { DEFAULT_LIMITS: '{"usd_per_day":10}' };
const COST = { 'sluice-stream-cost': 'true' };

const typeOf = (data: string) => (JSON.parse(data) as { type: string }).type;
const linesOf = (text: string) => text.split('\n').filter((line) => line !== '');
/** Takes a block for an event of two lines. @throws for a block of another form */
function typeOfBlock(block: string): string {
  const [, event, data = ''] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? [];
  if (event === undefined) throw new Error(`no event: ${block}`);
  return typeOf(data);
}

/** Parsers as people write them for the API's own streams. Each returns the types of the events, in their order. */
const PARSERS: Record<string, { read: (pieces: readonly string[]) => string[]; ignoresComments?: true }> = {
  'takes each text between empty lines for an event, as it arrives': {
    ignoresComments: true,
    read(pieces) {
      const types: string[] = [];
      let rest = '';
      for (const piece of pieces) {
        const blocks = (rest + piece).split('\n\n');
        rest = blocks.pop() ?? '';
        types.push(...blocks.map(typeOfBlock));
      }
      return types;
    },
  },
  'takes each text between empty lines of the whole response for an event': {
    read: (pieces) => pieces.join('').trim().split('\n\n').map(typeOfBlock),
  },
  'reads the data of each line that has some': {
    ignoresComments: true,
    read: (pieces) =>
      linesOf(pieces.join('')).flatMap((line) => (line.startsWith('data:') ? [typeOf(line.slice(5))] : [])),
  },
  'takes each line for a name or for data': {
    read: (pieces) =>
      linesOf(pieces.join('')).flatMap((line) => (line.startsWith('event: ') ? [] : [typeOf(line.slice(6))])),
  },
  'splits each line at its first colon': {
    ignoresComments: true,
    read: (pieces) =>
      linesOf(pieces.join('')).flatMap((line) => {
        const [field, value = ''] = line.split(/: (.*)/s);
        return field === 'data' ? [typeOf(value)] : [];
      }),
  },
};

const piecesOf = (text: string, size: number) =>
  Array.from({ length: Math.ceil(text.length / size) }, (_, at) => text.slice(at * size, (at + 1) * size));

test.each(Object.entries(PARSERS))(
  'a parser that %s reads only the events of the API from a stream',
  async (_, { read, ignoresComments }) => {
    for (const stream of [TEXT_STREAM, TOOL_STREAM]) {
      const app = createTestApp(() => sseResponse(createBody([stream])), LIMITED);
      const expected = read([stream]);
      for (const path of ['/messages', '/v1/messages']) {
        const text = await (await app.post(path, { ...ASK, stream: true })).text();
        expect(text).toBe(stream);
        const withCost = await (await app.post(path, { ...ASK, stream: true }, COST)).text();
        expect(withCost).toMatch(/^: sluice-budget-used=.+\n: sluice-budget-fits=true\n: sluice-cost-usd=.+\n$/m);
        for (const size of [1, 7, 100, 1_000_000]) {
          expect(read(piecesOf(text, size))).toEqual(expected);
          if (ignoresComments) expect(read(piecesOf(withCost, size))).toEqual(expected);
        }
      }
    }
  },
);

test('the SDKs read the same message with and without the comments', async () => {
  const app = createTestApp(() => sseResponse(createBody([TEXT_STREAM])), LIMITED);
  const send = (url: unknown, init?: RequestInit) => app.fetch(new URL(String(url)).pathname, init);
  for (const [, Client] of SDKS) {
    const client = new Client({ apiKey: 'any', baseURL: 'http://edge.test', fetch: send });
    const plain = await client.messages.stream(ASK).finalMessage();
    expect(plain.stop_reason).not.toBeNull();
    expect(await client.messages.stream(ASK, { headers: COST }).finalMessage()).toEqual(plain);
  }
  const model = createAnthropic({ apiKey: 'any', baseURL: 'http://edge.test/v1', fetch: send as typeof fetch })(
    ASK.model,
  );
  const plain = await streamText({ model, prompt: 'Hi' }).text;
  expect(plain).not.toBe('');
  expect(await streamText({ model, prompt: 'Hi', headers: COST }).text).toBe(plain);
});

test('restricted tokens can request the comments, and a value other than `true` is rejected', async () => {
  const app = createTestApp(() => sseResponse(createBody([TEXT_STREAM])), { ...DEPLOYED_VARS, ...LIMITED });
  const root = bearerHeader(await createToken('root', ['admin']));
  const agent = { model: ASK.model, max_tokens: 20 };
  expect((await requestEdge(app, 'PUT', '/agents/sky', root, agent)).status).toBe(200);
  const page = bearerHeader(await createToken('ann', ['messages'], { only: { agents: ['sky'] } }));
  const ask = { agent: 'sky', messages: ASK.messages, stream: true };
  expect(await (await app.post('/v1/messages', ask, { ...page, ...COST })).text()).toContain(': sluice-cost-usd=');
  const rejected = await app.post('/v1/messages', { ...ASK, stream: true }, { ...root, 'sluice-stream-cost': 'yes' });
  expect([rejected.status, (await readError(rejected)).message]).toEqual([
    400,
    'sluice-stream-cost: Input should be true',
  ]);
  expect(app.sent).toHaveLength(1);
});
