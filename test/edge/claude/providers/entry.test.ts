import { describe, expect, test } from 'vitest';
import {
  createConfiguredUpstreams,
  listUpstreamKeySettingNames,
  parseUpstreams,
} from '#edge/claude/providers/entry.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { ApiError } from '#edge/kit/http/errors.ts';

const BY = { signal: new AbortController().signal, waitUntil: () => undefined };

/** The upstreams of a deployment; each has a secret unless it is given. */
function opened(entries: readonly Record<string, unknown>[], env: Record<string, string> = {}) {
  return createConfiguredUpstreams(parseSettings({ UPSTREAMS: JSON.stringify(entries), ...env }));
}

/** The sentence by which these settings are refused. */
function refusal(upstreams: unknown, env: Record<string, string> = {}, development?: boolean): string {
  try {
    const text = typeof upstreams === 'string' ? upstreams : JSON.stringify(upstreams);
    createConfiguredUpstreams(parseSettings({ UPSTREAMS: text, ...env }, development));
  } catch (thrown) {
    if (!(thrown instanceof ApiError)) throw thrown;
    expect(thrown).toMatchObject({ type: 'api_error', status: 500, headers: { 'x-should-retry': 'false' } });
    return thrown.message;
  }
  throw new Error(`accepted: ${JSON.stringify(upstreams)}`);
}

const main = { name: 'main', kind: 'anthropic' };
const UPSTREAM_MAIN_KEY = 'sk-ant-main';

test('returns no upstreams if UPSTREAMS is not set', () => {
  expect(createConfiguredUpstreams(parseSettings({}))).toEqual([]);
});

test('keeps the order of the entries and fills in their defaults', () => {
  const [first, second] = opened(
    [
      { ...main, count: false, first_byte_ms: 5_000 },
      { name: 'east-2', kind: 'anthropic' },
    ],
    {
      UPSTREAM_MAIN_KEY,
      UPSTREAM_EAST_2_KEY: 'sk-ant-east',
    },
  );
  const cancel_stops = 'streams';
  expect(first?.entry).toEqual({ ...main, count: false, cancel_stops, first_byte_ms: 5_000 });
  const unsaid = { count: true, cancel_stops, first_byte_ms: 30_000 };
  expect(second?.entry).toEqual({ name: 'east-2', kind: 'anthropic', ...unsaid });
});

describe('the error for an invalid UPSTREAMS setting', () => {
  test.each([
    ['{', 'UPSTREAMS (must be JSON)'],
    [{ name: 'main' }, 'UPSTREAMS'],
    [['main'], 'must be objects such as'],
    [[{ kind: 'anthropic' }], 'the entry number 1: name must be a name such as "east"'],
    [[{ ...main, name: 'Main_1' }], 'the entry "Main_1": name must be a name such as "east-2"'],
    [[{ ...main, kind: 'openai' }], 'the entry "main": kind must be one of anthropic,'],
    [[{ ...main, kinds: 1 }], 'the entry "main": it unrecognized key: "kinds"'],
    [[main, main], 'the entry "main": name is the one of another entry'],
    [[{ ...main, base_url: 'http://example.com' }], 'the entry "main": base_url must be an https URL'],
    [[{ ...main, base_url: 'https://a:b@example.com' }], 'base_url must not contain credentials'],
    [[{ ...main, models: [] }], 'the entry "main": models must contain a model'],
    [[{ ...main, models: {} }], 'the entry "main": models must contain a model'],
    [[{ ...main, count: 'no' }], 'the entry "main": count'],
    [[{ ...main, models: { 'claude-opus-5-5': '' } }], 'the entry "main": models'],
    [[{ ...main, price_factor: 0 }], 'the entry "main": price_factor'],
    [[{ ...main, first_byte_ms: 0.5 }], 'the entry "main": first_byte_ms'],
    [[main], 'The upstream "main" has no UPSTREAM_MAIN_KEY. The operator can set it with: npx wrangler secret put'],
    [[{ name: 'simulator', kind: 'simulator' }], 'is for development only. Remove from UPSTREAMS: simulator.'],
    [[{ name: 'main', kind: 'simulator' }], 'the entry "main": name must be "simulator", or begin with "simulator-"'],
    [[{ name: 'simulators', kind: 'simulator' }], 'the entry "simulators": name must be "simulator"'],
  ])('names the entry and the problem: %j', (upstreams, sentence) => {
    expect(refusal(upstreams)).toContain(sentence);
  });

  test('names all malformed entries at once', () => {
    const told = refusal([
      { ...main, count: 1 },
      { name: 'east', kind: 'anthropic', region: 'x' },
    ]);
    expect(told).toContain('"main": count');
    expect(told).toContain('"east": it unrecognized key: "region"');
  });

  test('reports that UPSTREAM=simulator and UPSTREAMS contradict each other', () => {
    expect(refusal([main], { UPSTREAM: 'simulator' }, true)).toBe(
      'UPSTREAM=simulator and UPSTREAMS contradict each other. Remove one of them.',
    );
  });
});

test('listUpstreamKeySettingNames returns the key settings that the entries need, and none for the simulator', () => {
  const entries = parseUpstreams(
    parseSettings(
      {
        UPSTREAMS: JSON.stringify([
          main,
          { name: 'east-2', kind: 'anthropic' },
          { name: 'simulator-2', kind: 'simulator' },
        ]),
      },
      true,
    ),
  );
  expect(listUpstreamKeySettingNames(entries)).toEqual(['UPSTREAM_MAIN_KEY', 'UPSTREAM_EAST_2_KEY']);
});

describe('the models of an entry', () => {
  const of = (models: unknown) => {
    const [upstream] = opened([{ ...main, models }], {
      UPSTREAM_MAIN_KEY,
      MODEL_ALIASES: '{"smart":"claude-opus-5-5"}',
    });
    if (!upstream) throw new Error('no upstream');
    return upstream;
  };

  test('include every model under its own name if there is no list', () => {
    const upstream = of(undefined);
    for (const model of ['claude-opus-5-5', 'claude-opus-4-5', 'claude-of-tomorrow']) {
      expect(upstream.idOf(model)).toBe(model);
    }
  });

  test('map each name of a listed model to its configured id, and back', () => {
    const upstream = of({ smart: 'big', 'claude-opus-4-5': 'old' });
    expect(upstream.idOf('claude-opus-5-5')).toBe('big');
    expect(upstream.idOf('claude-opus-4-5-20251101')).toBe('old');
    expect(upstream.idOf('claude-opus-4-5')).toBe('old');
    expect(upstream.idOf('claude-sonnet-5-5')).toBeUndefined();
    expect(upstream.getClaudeModelName('big')).toBe('claude-opus-5-5');
    expect(upstream.getClaudeModelName('old')).toBe('claude-opus-4-5-20251101');
    expect(upstream.getClaudeModelName('else')).toBe('else');
  });

  test('use the ids of the kind if they are a list of names', () => {
    const upstream = of(['claude-opus-5-5']);
    expect(upstream.idOf('claude-opus-5-5')).toBe('claude-opus-5-5');
    expect(upstream.idOf('claude-sonnet-5-5')).toBeUndefined();
  });
});

test('a call is sent to the base URL with the key of its entry, and with the id of its model', async () => {
  const [upstream] = opened(
    [{ ...main, base_url: 'https://gateway.example/claude/v1/', models: { 'claude-opus-5-5': 'big' } }],
    {
      UPSTREAM_MAIN_KEY,
    },
  );
  const sent = await upstream?.prepare(
    {
      method: 'POST',
      path: '/v1/messages?beta=true',
      headers: { 'anthropic-version': '2023-06-01' },
      model: 'claude-opus-5-5',
      body: (changes) => JSON.stringify(changes),
    },
    BY,
  );
  expect(sent).toEqual({
    method: 'POST',
    url: 'https://gateway.example/claude/v1/messages?beta=true',
    headers: { 'anthropic-version': '2023-06-01', 'x-api-key': 'sk-ant-main' },
    body: '{"model":"\\"big\\""}',
  });
});
