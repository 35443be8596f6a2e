/** `npm run prove`, whose process and terminal are in test/scripts: what it finds in a Claude API that is not as expected. */
import { describe, expect, test } from 'vitest';
import { type AlterAnswer, runProve } from '#test/support/prove.ts';
import { maximumCostOf } from '../../../scripts/prove-calls.ts';

interface Message {
  [member: string]: unknown;
  model: string;
  stop_reason: string;
  content: Record<string, unknown>[];
  usage: Record<string, unknown>;
}

/** Changes a message that comes in one piece. */
const within =
  (change: (message: Message) => unknown): AlterAnswer =>
  (text) => {
    const message = JSON.parse(text) as Message;
    change(message);
    return JSON.stringify(message);
  };
const inUsage = (members: Record<string, unknown>) => within(({ usage }) => Object.assign(usage, members));
const inText =
  (from: string | RegExp, to: string): AlterAnswer =>
  (text) =>
    text.replace(from, to);
const refused =
  (status: number, type: string): AlterAnswer =>
  () =>
    Response.json({ type: 'error', error: { type, message: 'No.' } }, { status });
const answered: AlterAnswer = () => Response.json({ type: 'message', role: 'assistant', content: [] });

const PLANTED: [what: string, calls: string[], plant: AlterAnswer, words: string][] = [
  ['takes a forced tool that it refused', ['forced-tool-refused'], answered, '200, expected 400 invalid_request_error'],
  ['refuses a forced tool that it took', ['forced-tool'], refused(400, 'invalid_request_error'), 'expected 200'],
  ['takes a prefill that it refused', ['prefill-refused'], answered, '200, expected 400'],
  ['refuses by another type', ['effort-refused'], refused(400, 'feature_error'), '400 feature_error, expected 400 inv'],
  ['refuses with another status', ['thinking-off-refused'], refused(422, 'invalid_request_error'), '422 invalid'],
  ['no longer has a model', ['answer-opus'], refused(404, 'not_found_error'), '404 not_found_error, expected 200'],
  ['answers by another model', ['answer-sonnet'], inText('sonnet-5-5', 'sonnet-5'), 'answered by claude-sonnet-5'],
  ['declines to answer', ['answer-haiku'], inText('"end_turn"', '"refusal"'), 'stop refusal, expected end_turn'],
  ['ends at a limit that is not reached', ['effort'], inText('"end_turn"', '"max_tokens"'), 'stop max_tokens'],
  ['pauses', ['search'], inText('"end_turn"', '"pause_turn"'), 'stop pause_turn, expected end_turn'],
  [
    'says a new kind of block',
    ['answer-haiku'],
    within(({ content }) => content.push({ type: 'sketch' })),
    'new block sketch',
  ],
  ['does not call its tool', ['tool'], within(({ content }) => content.pop()), 'no block tool_use'],
  [
    'thinks where it is forced',
    ['forced-tool'],
    within(({ content }) => content.unshift({ type: 'thinking' })),
    'new block thinking',
  ],
  ['has a new member', ['tool-result'], within((message) => Object.assign(message, { mood: 'good' })), 'new: mood'],
  ['bills a new kind of token', ['answer-haiku'], inUsage({ audio_tokens: 5 }), 'new: usage.audio_tokens'],
  [
    'bills a summary',
    ['answer-haiku'],
    inUsage({ iterations: [{ type: 'compaction', input_tokens: 9 }] }),
    'new: usage.iterations',
  ],
  [
    'leaves out a part of its usage',
    ['cache-write'],
    inUsage({ cache_creation: null }),
    'missing: usage.cache_creation.eph',
  ],
  [
    'has no usage',
    ['prefill'],
    within((message) => delete (message as Partial<Message>).usage),
    'no usage that has a price',
  ],
  ['thinks more than it writes', ['answer-haiku'], inUsage({ output_tokens: 1 }), 'thinking tokens of 1'],
  [
    'thinks though it was switched off',
    ['file-upload', 'file'],
    inUsage({ output_tokens_details: { thinking_tokens: 1 } }),
    '1 thinking tokens',
  ],
  [
    'does not count its thinking',
    ['answer-fable'],
    inUsage({ output_tokens_details: { thinking_tokens: 0 } }),
    'a thinking block without',
  ],
  [
    'writes nothing to the cache',
    ['cache-write'],
    inUsage({ cache_creation_input_tokens: 0 }),
    'cache_creation_input_tokens 0',
  ],
  [
    'reads more than was written',
    ['cache-write', 'cache-read'],
    inUsage({ cache_read_input_tokens: 9_999 }),
    '9999 read',
  ],
  [
    'writes for another time',
    ['cache-write'],
    inUsage({ cache_creation_input_tokens: 9 }),
    'not the sum of their lifetimes',
  ],
  ['writes more than it may', ['max-tokens'], inUsage({ output_tokens: 80 }), '80 output tokens of at most 8'],
  ['bills more than can be', ['answer-haiku'], inUsage({ input_tokens: 90_000 }), 'more than its worst case'],
  ['bills a search twice', ['search'], inUsage({ server_tool_use: { web_search_requests: 2 } }), '2 searches billed'],
  ['counts another prompt', ['answer-haiku', 'count'], () => '{"input_tokens":900}', 'counted 900 tokens'],
  [
    'has a new event',
    ['stream'],
    inText('event: message_delta', 'event: news\ndata: {"type":"news"}\n\n$&'),
    'content_block_stop news message_delta',
  ],
  [
    'has no end',
    ['stream'],
    inText(/event: message_stop[\s\S]*/, ''),
    'content_block_stop message_delta error; booked as cut',
  ],
  ['begins otherwise', ['stream'], inText(/event: message_start.*\n.*\n\n/, ''), 'the stream is content_block_start'],
  [
    'fails in the middle',
    ['stream'],
    inText(/event: content_block_stop[\s\S]*/, 'event: error\ndata: {"type":"error","error":{"type":"api_error"}}\n\n'),
    'content_block_delta… error',
  ],
  [
    'tells no usage at its start',
    ['stopped'],
    inText(/"usage":\{.*?\}\}/, '"usage":{}}'),
    'no input tokens at the start',
  ],
  ['tells of a file otherwise', ['file-upload'], inText('"size_bytes"', '"bytes"'), 'new: bytes'],
];

describe('runProve with a Claude API that behaves unexpectedly', () => {
  test.each(PLANTED)('reports that the API %s', async (_, names, plant, words) => {
    const proved = await runProve({ names, plant });
    expect(proved.slice(0, -1).flatMap(({ differences }) => differences)).toEqual([]);
    expect(proved.at(-1)?.differences.join('; ')).toContain(words);
  });

  test.each([
    ['costs', /"cost_usd":[\d.]+/g, '"cost_usd":0', 'booked $0, not $0.0004143'],
    ['an estimate', /"estimated":false/g, '"estimated":true', 'booked as complete, by estimate'],
    ['more than was set aside', /"over_hold":false/g, '"over_hold":true', 'more than the edge had set aside'],
  ])('reports a ledger row with unexpected values: %s', async (_, from, to, words) => {
    const [proved] = await runProve({ names: ['answer-haiku'] }, (text) => text.replace(from, to));
    expect(proved?.differences).toEqual([expect.stringContaining(words)]);
  });

  test('stops after the API rejects the key', async () => {
    const plant = refused(401, 'authentication_error');
    expect(await runProve({ names: ['answer-haiku'], plant })).toHaveLength(1);
  });
});

test.each([undefined, 0, 3_000])(
  'runProve reports no difference if the API behaves as expected and uses %s thinking tokens',
  async (thinking) => {
    const proved = await runProve({ seed: 'as expected', thinking });
    expect(proved.flatMap(({ call, differences }) => differences.map((words) => `${call.name}: ${words}`))).toEqual([]);
    for (const { call, expected } of proved) {
      expect([call.name, expected.status]).toEqual([call.name, call.name.endsWith('-refused') ? 400 : 200]);
      if (expected.body.stop_reason === 'max_tokens') expect(call.name).toBe('max-tokens');
    }
    const calls = proved.map(({ call }) => call);
    expect(calls).toHaveLength(24);
    expect(calls.reduce((sum, call) => sum + maximumCostOf(call), 0)).toBeLessThanOrEqual(0.5e9);
  },
);
