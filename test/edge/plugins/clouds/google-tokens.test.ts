import { generateKeyPairSync } from 'node:crypto';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { InvalidKeyError } from '#edge/claude/providers/provider.ts';
import { ApiError } from '#edge/kit/http/errors.ts';
import { GoogleAccessTokenCache } from '#edge/plugins/clouds/google-tokens.ts';

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ACCOUNT = {
  private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  client_email: 'edge@my-project.iam.gserviceaccount.com',
  token_uri: 'https://oauth2.example/token',
};
const MINUTE = 60_000;

beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 10, 20), toFake: ['Date'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Google, which numbers its tokens. Each request asks by itself, as requests of an isolate do. */
function google(answer: (number: number) => Response | Promise<Response> = good) {
  const tokens = new GoogleAccessTokenCache(JSON.stringify(ACCOUNT));
  let asked = 0;
  const behind: Promise<unknown>[] = [];
  const token = () =>
    tokens.getAccessToken({
      signal: new AbortController().signal,
      waitUntil: (work) => behind.push(work),
      fetch: async () => {
        asked += 1;
        return await answer(asked);
      },
    });
  return { tokens, token, asked: () => asked, settled: () => Promise.all(behind.splice(0)), behind };
}

function good(number: number): Response {
  return Response.json({ access_token: `token-${number}`, expires_in: 3_600 });
}

test('requests a token once, and uses it until five minutes before it expires', async () => {
  const { token, asked, behind } = google();
  expect(await token()).toBe('token-1');
  vi.setSystemTime(Date.now() + 54 * MINUTE);
  expect(await token()).toBe('token-1');
  expect([asked(), behind.length]).toEqual([1, 0]);
});

test('five minutes before expiry, one request renews the token in the background while the others use the old one', async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { token, asked, behind, settled } = google(async (number) => {
    if (number > 1) await held;
    return good(number);
  });
  await token();
  vi.setSystemTime(Date.now() + 56 * MINUTE);
  // Nobody waits for the renewal: these come while it has not ended.
  expect(await Promise.all(Array.from({ length: 20 }, token))).toEqual(Array(20).fill('token-1'));
  await vi.waitFor(() => expect(asked()).toBe(2));
  expect(behind).toHaveLength(1);
  release();
  await settled();
  expect(await token()).toBe('token-2');
  expect(asked()).toBe(2);
});

test('retries a renewal that fails or hangs, and uses the old token until it expires', async () => {
  const { token, asked, settled, behind } = google((number) => {
    if (number === 2) return Response.json({}, { status: 503 });
    return number === 3 ? new Promise(() => {}) : good(number);
  });
  await token();
  vi.setSystemTime(Date.now() + 56 * MINUTE);
  expect(await token()).toBe('token-1');
  await settled();
  expect(await token()).toBe('token-1');
  expect(asked()).toBe(2);
  vi.setSystemTime(Date.now() + MINUTE);
  expect(await token()).toBe('token-1');
  await vi.waitFor(() => expect(asked()).toBe(3));
  behind.length = 0;
  vi.setSystemTime(Date.now() + MINUTE);
  expect(await token()).toBe('token-1');
  await vi.waitFor(() => expect(asked()).toBe(4));
  await settled();
  expect(await token()).toBe('token-4');
});

test('does not wait for another request’s pending token if there is no token', async () => {
  const hangs = google((number) => (number === 1 ? new Promise(() => {}) : good(number)));
  void hangs.token().catch(() => undefined);
  await vi.waitFor(() => expect(hangs.asked()).toBe(1));
  expect(await hangs.token()).toBe('token-2');
});

test('does not use an expired token', async () => {
  const { token } = google();
  await token();
  vi.setSystemTime(Date.now() + 60 * MINUTE);
  expect(await token()).toBe('token-2');
});

test('reports a rejected service account as `upstream_auth`, and other failures as plain errors', async () => {
  const refused = google(() => Response.json({ error: 'invalid_grant' }, { status: 400 }));
  await expect(refused.token()).rejects.toMatchObject({ status: 500, logged: 'upstream_auth' });
  for (const status of [200, 429, 302, 500]) {
    const down = google(() => Response.json({ error: 'x' }, { status }));
    const thrown = await down.token().catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(Error);
    expect(thrown).not.toBeInstanceOf(ApiError);
  }
});

test('reports an unreadable private key without any part of it', async () => {
  const broken = { ...ACCOUNT, private_key: '-----BEGIN PRIVATE KEY-----\nsecretsecret\n-----END PRIVATE KEY-----\n' };
  const tokens = new GoogleAccessTokenCache(JSON.stringify(broken));
  const by = { signal: new AbortController().signal, waitUntil: () => undefined };
  const thrown = await tokens.getAccessToken(by).catch((error: unknown) => error);
  expect(thrown).toMatchObject({ logged: 'upstream_auth' });
  expect(thrown).not.toHaveProperty('cause');
});

test.each([
  '',
  'AIza-an-api-key',
  '{}',
  JSON.stringify({ ...ACCOUNT, private_key: 'x' }),
  JSON.stringify({ ...ACCOUNT, token_uri: 'http://example.com/token' }),
  JSON.stringify({ ...ACCOUNT, client_email: undefined }),
])('rejects %j as a service account', (secret) => {
  expect(() => new GoogleAccessTokenCache(secret)).toThrow(InvalidKeyError);
});

test('requests a new token after the old one was dropped', async () => {
  const { tokens, token, asked } = google();
  expect(await token()).toBe('token-1');
  tokens.dropAccessToken();
  expect([await token(), asked()]).toEqual(['token-2', 2]);
});
