import { beforeEach, describe, expect, test, vi } from 'vitest';
import type { Upstream } from '#edge/claude/upstream.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { createTestApp, readError, type SentRequest, type TestApp } from '#test/support/app.ts';
import { resetAll } from '#test/support/reset.ts';
import { SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';

const MODEL = 'claude-haiku-5-5';
const MESSAGE = { ...SMALL_MESSAGE, model: MODEL, content: [{ type: 'text', text: '{"label":"a"}' }] };
const ASK = { model: MODEL, max_tokens: 10, stream: false, messages: [{ role: 'user', content: 'Hi' }] };

/** Every way by which something of an account goes up to be answered. */
const WAYS: Record<string, { path: string; body: Record<string, unknown> }> = {
  'a message': { path: '/v1/messages', body: ASK },
  'a turn of a conversation': { path: '/v1/messages', body: { ...ASK, conversation: 'c1' } },
  'a classification': { path: '/classify', body: { input: 'x', labels: ['a', 'b'], cache_seconds: 0 } },
};

let answer: (sent: SentRequest) => Response;
beforeEach(() => {
  answer = () => Response.json(MESSAGE);
});
/** A deployed edge, and its conversations with the same upstream. */
function edge(vars: Record<string, string> = {}): TestApp {
  const app = createTestApp((sent) => answer(sent), { ...DEPLOYED_VARS, UPSTREAM_MAX_RETRIES: '0', ...vars });
  const settings = parseSettings({ ANTHROPIC_API_KEY: 'sk-ant-x', UPSTREAM_MAX_RETRIES: '0', ...vars });
  const upstream: Upstream = {
    baseURL: settings.ANTHROPIC_BASE_URL,
    apiKey: 'sk-ant-x',
    isSimulated: false,
    fetch: async (url, init) => {
      const body = new Uint8Array(await new Response(init.body ?? '').arrayBuffer());
      const text = new TextDecoder().decode(body);
      const sent = {
        method: 'POST',
        url: new URL(url),
        headers: new Headers(init.headers),
        body,
        text,
        signal: undefined,
      };
      app.sent.push(sent);
      return answer(sent);
    },
  };
  const inside = Conversation.prototype as unknown as { settings(): unknown; upstream(): unknown };
  vi.spyOn(inside, 'settings').mockReturnValue(settings);
  vi.spyOn(inside, 'upstream').mockReturnValue(upstream);
  return app;
}

const as = async (account: string) => bearerHeader(await createToken(account, ['messages', 'classify']));
const metadataOf = (sent: SentRequest | undefined) =>
  (JSON.parse(sent?.text ?? '{}') as { metadata?: unknown }).metadata;

describe.each(Object.entries(WAYS))('%s', (name, { path, body }) => {
  test('prefixes the caller’s idempotency-key with a hash of the account, or sends none for a classification', async () => {
    const app = edge();
    for (const account of ['alice', 'bob']) {
      const response = await app.post(path, body, { ...(await as(account)), 'idempotency-key': 'once' });
      expect(response.status).toBe(200);
    }
    const keys = app.sent.map(({ headers }) => headers.get('idempotency-key'));
    expect(keys).toHaveLength(2);
    // What the edge asks by itself has no key of a caller's.
    if (name === 'a classification') return expect(keys).toEqual([null, null]);
    for (const key of keys) expect(key).toMatch(/^[0-9a-f]{32}-once$/);
    expect(new Set(keys).size).toBe(2);
    return undefined;
  });

  test('sends a stable hash of the account as user_id only if UPSTREAM_USER_ID is set', async () => {
    const silent = edge();
    await silent.post(path, body, await as('alice'));
    expect(metadataOf(silent.sent[0])).toBeUndefined();
    await silent.waitUntilSettled();
    await resetAll();
    const app = edge({ UPSTREAM_USER_ID: 'account' });
    const said = path === '/classify' ? {} : { metadata: { user_id: 'somebody else', tier: [1.0] } };
    for (const account of ['alice', 'bob', 'alice']) await app.post(path, { ...body, ...said }, await as(account));
    const [alice, bob, again] = app.sent.map((sent) => metadataOf(sent) as Record<string, unknown>);
    expect(alice?.user_id).toMatch(/^[0-9a-f]{32}$/);
    expect(again).toEqual(alice);
    expect(bob?.user_id).not.toBe(alice?.user_id);
    if (path !== '/classify') expect(alice).toMatchObject({ tier: [1] });
    expect(app.sent.map(({ text }) => text).join()).not.toMatch(/alice|somebody else/);
  });

  test('returns Sluice’s own error with the retry-after if the upstream limits the rate', async () => {
    const app = edge();
    answer = () =>
      Response.json(
        { type: 'error', error: { type: 'rate_limit_error', message: 'organization org-7 has 50,000 tokens' } },
        {
          status: 429,
          headers: { 'retry-after': '17', 'anthropic-organization-id': 'org-7', 'x-envoy-decorator': 'org-7' },
        },
      );
    const response = await app.post(path, body, await as('alice'));
    expect(response.status).toBe(429);
    expect(response.headers.get('retry-after')).toBe('17');
    expect(response.headers.get('sluice-limited-by')).toBe('upstream');
    expect(JSON.stringify([...response.headers])).not.toContain('org-7');
    const { type, message } = await readError(response);
    expect(type).toBe('rate_limit_error');
    expect(message).toContain('17 s');
    expect(message).not.toContain('org-7');
  });
});

test('with UPSTREAM_USER_ID, invalid metadata is forwarded unchanged, and null metadata is replaced', async () => {
  const app = edge({ UPSTREAM_USER_ID: 'account' });
  for (const metadata of [7, 'x', [1]]) {
    await app.post('/v1/messages', { ...ASK, metadata }, await as('alice'));
    expect(metadataOf(app.sent.at(-1))).toEqual(metadata);
  }
  await app.post('/v1/messages', { ...ASK, metadata: null }, await as('alice'));
  expect(metadataOf(app.sent.at(-1))).toEqual({ user_id: expect.stringMatching(/^[0-9a-f]{32}$/) });
});

test('headers that select a gateway’s provider or a workspace are forwarded only with FORWARD_HEADERS', async () => {
  const chosen = {
    'x-portkey-api-key': 'k',
    'helicone-target-url': 'https://evil.example',
    'anthropic-workspace-id': 'w',
  };
  for (const [vars, expected] of [
    [{}, []],
    [{ FORWARD_HEADERS: 'Helicone-*' }, ['helicone-target-url']],
  ] as const) {
    const app = edge(vars);
    for (const { path, body } of [...Object.values(WAYS), { path: '/v1/messages/count_tokens', body: ASK }]) {
      await app.post(path, body, { ...(await as('alice')), ...chosen });
    }
    await app.fetch('/v1/models', { headers: { ...(await as('alice')), ...chosen } });
    expect(app.sent).toHaveLength(5);
    for (const { headers, text } of app.sent) {
      const up = Object.keys(chosen).filter((name) => headers.has(name));
      // What the edge asks by itself takes nothing from the caller.
      expect(up).toEqual(text.includes('You label texts') ? [] : expected);
    }
    await app.waitUntilSettled();
    await resetAll();
  }
});

test('fields for Sluice with the value null are not forwarded', async () => {
  const app = edge();
  const asked = { ...ASK, conversation: null, show: null, agent: null };
  expect((await app.post('/v1/messages', asked, await as('alice'))).status).toBe(200);
  expect(Object.keys(JSON.parse(app.sent.at(-1)?.text ?? '{}') as object).sort()).toEqual(Object.keys(ASK).sort());
});

test('an idempotency-key without a conversation is rejected by /messages and ignored by /v1/messages', async () => {
  const app = edge();
  const headers = { ...(await as('alice')), 'idempotency-key': 'once' };
  const { message } = await readError(await app.post('/messages', ASK, headers));
  expect(message).toMatch(/^idempotency-key: .*Send `conversation`/);
  expect(app.sent).toEqual([]);
  for (const count of [1, 2]) {
    expect((await app.post('/v1/messages', ASK, headers)).status).toBe(200);
    expect(app.sent).toHaveLength(count);
  }
});
