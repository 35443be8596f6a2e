// In workerd: the headers are the runtime's.
import 'cloudflare:workers';

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { toUpstreamHeaders as plainUp, toCallerHeaders } from '#edge/claude/headers.ts';
import { canHeaderBeForwarded } from '#edge/kit/http/headers/not-forwarded.ts';
import { createTestApp, readError } from '#test/support/app.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';
import { SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';

const KEY = 'sk-ant-of-the-deployment';

const headersUp = (caller: Headers, key: string, forwarded: readonly string[] = []) =>
  new Headers(plainUp(caller, key, forwarded));

/** Design §3, "Drop-in rule", and RFC 9110's hop-by-hop headers; `accept-encoding` is between this edge and the upstream. */
const NAMED = [
  'authorization',
  'x-api-key',
  'proxy-authorization',
  'proxy-authenticate',
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
  'host',
  'content-length',
  'cookie',
  'origin',
  'referer',
  'x-real-ip',
  'anthropic-dangerous-direct-browser-access',
  'accept-encoding',
  'idempotency-key',
  'content-encoding',
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'x-original-url',
  'x-rewrite-url',
  'anthropic-organization-id',
  'api-key',
  'forwarded',
  'true-client-ip',
  'x-client-ip',
  'anthropic-workspace-id',
  'anthropic-user-profile-id',
];
const WITHHELD_PREFIXES = [
  'x-portkey-',
  'helicone-',
  'x-litellm-',
  'x-bf-',
  'x-goog-',
  'x-amz-',
  'x-amzn-',
  'x-envoy-',
];
const NAMED_PREFIXES = ['sec-', 'cf-', 'x-forwarded-', 'sluice-', ...WITHHELD_PREFIXES];
const isNamed = (name: string) => NAMED.includes(name) || NAMED_PREFIXES.some((prefix) => name.startsWith(prefix));

const word = fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/);
const value = fc.stringMatching(/^[!-~]([ -~]{0,40}[!-~])?$/);
const free = fc
  .oneof(
    word,
    fc.constantFrom(
      'anthropic-version',
      'anthropic-beta',
      'user-agent',
      'content-type',
      'accept',
      'x-stainless-lang',
      'security',
      'cfx',
      'hosts',
      'x-forwarded',
    ),
  )
  .filter((name) => !isNamed(name));
const named = fc.oneof(
  fc.constantFrom(...NAMED),
  fc.tuple(fc.constantFrom(...NAMED_PREFIXES), word).map((parts) => parts.join('')),
);
const anyCase = (name: fc.Arbitrary<string>) =>
  fc.tuple(name, fc.boolean()).map(([text, upper]) => (upper ? text.toUpperCase() : text));

test('forwards every header unchanged except the listed ones', () => {
  tryCases(
    caseCount(1_000),
    fc.dictionary(anyCase(free), value),
    fc.dictionary(anyCase(named), value),
    (untouched, dropped) => {
      const caller = new Headers();
      for (const [name, text] of Object.entries({ ...untouched, ...dropped })) caller.append(name, text);
      caller.delete('connection');
      const up = headersUp(caller, KEY);
      for (const [name, text] of caller) {
        if (!isNamed(name)) expect(up.get(name), name).toBe(text);
        else if (name !== 'x-api-key' && name !== 'accept-encoding') expect(up.has(name), name).toBe(false);
      }
      expect(up.get('x-api-key')).toBe(KEY);
      expect(up.get('accept-encoding')).toBe('identity');
      for (const [name] of up) {
        expect(caller.has(name) || ['x-api-key', 'accept-encoding', 'anthropic-version'].includes(name), name).toBe(
          true,
        );
      }
    },
  );
});

test('forwards the caller’s credential in no header', () => {
  const secret = 'eyJ.the-caller.credential';
  const caller = new Headers({
    authorization: `Bearer ${secret}`,
    'x-api-key': secret,
    'proxy-authorization': `Basic ${secret}`,
    cookie: `token=${secret}`,
    connection: 'x-api-key, authorization',
  });
  const up = headersUp(caller, KEY);
  expect(JSON.stringify([...up])).not.toContain(secret);
  expect(up.get('x-api-key')).toBe(KEY);
});

test('removes headers that `connection` names, in both directions', () => {
  tryCases(100, fc.uniqueArray(free, { minLength: 1, maxLength: 4 }), fc.boolean(), (names, upper) => {
    const headers = new Headers({
      'x-stays': 'yes',
      connection: names.join(upper ? ' ,' : ',').replace(/^x/, upper ? 'X' : 'x'),
    });
    for (const name of names) headers.set(name, 'v');
    const expected = names.includes('x-stays') ? null : 'yes';
    for (const passed of [headersUp(headers, KEY), new Headers(toCallerHeaders(headers))]) {
      for (const name of names) if (name !== 'anthropic-version') expect(passed.has(name), name).toBe(false);
      expect(passed.get('x-stays')).toBe(expected);
      expect(passed.has('connection')).toBe(false);
    }
  });
});

test('forwards anthropic-version, and defaults to 2023-06-01', () => {
  expect(headersUp(new Headers(), KEY).get('anthropic-version')).toBe('2023-06-01');
  for (const version of ['2023-06-01', '2026-10-21', '2099-01-01']) {
    expect(headersUp(new Headers({ 'anthropic-version': version }), KEY).get('anthropic-version')).toBe(version);
  }
});

test('forwards the betas of several headers', () => {
  const caller = new Headers();
  caller.append('anthropic-beta', 'one-2026-01-01');
  caller.append('anthropic-beta', 'of-the-future');
  expect(headersUp(caller, KEY).get('anthropic-beta')).toBe('one-2026-01-01, of-the-future');
});

test('an operator can allow gateway headers, but none that are never forwarded', () => {
  const all = [
    ...NAMED,
    ...NAMED_PREFIXES.map((prefix) => `${prefix}any`),
    'x-portkey-provider',
    'helicone-auth',
    'helicone-cache',
  ];
  const caller = new Headers(all.filter((name) => name !== 'connection').map((name) => [name, 'theirs']));
  const through = (...forwarded: string[]) => {
    const up = headersUp(caller, KEY, forwarded);
    return all.filter((name) => up.get(name) === 'theirs').sort();
  };
  expect(through()).toEqual([]);
  expect(through('helicone-*', 'anthropic-workspace-id')).toEqual([
    'anthropic-workspace-id',
    'helicone-any',
    'helicone-auth',
    'helicone-cache',
  ]);
  expect(through('helicone-cache')).toEqual(['helicone-cache']);
  expect(through('x-portkey-provide')).toEqual([]);
  // By no pattern that the setting takes, nor by one that it does not, does anything else go up.
  const patterns = fc.array(fc.oneof(fc.constantFrom(...all, '*', 'x-*', 'anthropic-*', '', 'a*'), word), {
    maxLength: 5,
  });
  tryCases(100, patterns, (forwarded) => {
    const mayGo = (name: string) =>
      /^(api-key|anthropic-(workspace|user-profile|organization)-id)$/.test(name) ||
      WITHHELD_PREFIXES.some((one) => name.startsWith(one));
    expect(through(...forwarded).filter((name) => !mayGo(name))).toEqual([]);
  });
});

test('FORWARD_HEADERS rejects headers that are never forwarded', () => {
  for (const name of ['helicone-*', 'anthropic-workspace-id', 'x-*', 'anthropic-*', 'x-goog-api-key', '*']) {
    expect(canHeaderBeForwarded(name), name).toBe(true);
  }
  for (const name of [
    'authorization',
    'x-api-key',
    'cookie',
    'sluice-*',
    'x-forwarded-*',
    'cf-ray',
    'content-encoding',
  ]) {
    expect(canHeaderBeForwarded(name), name).toBe(false);
  }
});

test('removes listed headers, such as those of the upstream’s account, from responses, and returns others', () => {
  const stays = {
    connection: 'keep-alive, x-hop',
    'keep-alive': 'timeout=5',
    'x-hop': '1',
    'transfer-encoding': 'chunked',
    trailer: 'x',
    upgrade: 'h2c',
    'content-encoding': 'gzip',
    'content-length': '10',
    'set-cookie': 'session=1',
    'anthropic-ratelimit-requests-limit': '50',
    'anthropic-ratelimit-unified-status': 'allowed',
    'access-control-allow-origin': '*',
    'cf-ray': '1-ZRH',
    'strict-transport-security': 'max-age=1',
    'anthropic-organization-id': 'org-of-the-operator',
    via: '1.1 gateway',
    server: 'gateway',
    'x-envoy-upstream-service-time': '5',
    'x-litellm-model-api-base': 'https://inside.example',
  };
  const goes = {
    'content-type': 'application/json',
    'request-id': 'req_1',
    'retry-after': '3',
    'x-should-retry': 'true',
    'sluice-upstream': 'simulator',
    'of-the-future': 'x',
  };
  const all = new Headers({ ...stays, ...goes });
  expect({ ...toCallerHeaders(all) }).toEqual(goes);
});

test('forwards headers named like members of every object', () => {
  const names = ['__proto__', 'constructor', 'tostring', 'hasownproperty'];
  const caller = new Headers(names.map((name) => [name, `of ${name}`]));
  for (const passed of [headersUp(caller, KEY), new Headers(toCallerHeaders(caller))]) {
    for (const name of names) expect(passed.get(name)).toBe(`of ${name}`);
  }
});

test('removes a retry-after that is invalid or too long', () => {
  const waits = (name: string, value: string) => toCallerHeaders(new Headers({ [name]: value }))[name];
  for (const name of ['retry-after', 'retry-after-ms']) {
    for (const wrong of ['-5', 'Infinity', '1e99', 'soon', 'NaN', '9999999999'])
      expect(waits(name, wrong)).toBe(undefined);
    for (const right of ['0', '1', '2.5', '3600']) expect(waits(name, right)).toBe(right);
  }
  const date = new Date(Date.now() + 60_000).toUTCString();
  expect(waits('retry-after', date)).toBe(date);
});

test('returns 400 for more than 64 headers that would be forwarded, on each route', async () => {
  const app = createTestApp(() => Response.json(SMALL_MESSAGE), DEPLOYED_VARS);
  const alice = {
    ...bearerHeader(await createToken('alice', ['messages', 'classify'])),
    'content-type': 'application/json',
  };
  const own = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, at) => [`x-own-${at}`, 'a']));
  const ask = { model: 'claude-haiku-5-5', max_tokens: 10, stream: false, messages: [{ role: 'user', content: 'Hi' }] };
  for (const [path, body] of [
    ['/v1/messages', ask],
    ['/messages', { ...ask, conversation: 'c1' }],
    ['/count-tokens', { model: ask.model, messages: ask.messages }],
    ['/classify', { input: 'Hi', labels: [{ name: 'a' }, { name: 'b' }] }],
  ] as const) {
    const refused = await app.post(path, body, { ...alice, ...own(64) });
    expect([refused.status, await readError(refused)], path).toMatchObject([
      400,
      { type: 'invalid_request_error', message: expect.stringContaining('has 65 headers that would be forwarded') },
    ]);
  }
  expect(app.sent).toEqual([]);
  const around = Object.fromEntries(Array.from({ length: 40 }, (_, at) => [`x-forwarded-${at}`, 'a']));
  expect((await app.post('/v1/messages', ask, { ...alice, ...around, ...own(63) })).status).toBe(200);
  expect(app.sent).toHaveLength(1);
  await app.waitUntilSettled();
});

test('forwards at most 8,192 characters of headers, and always content-type', () => {
  tryCases(caseCount(200), fc.dictionary(word, fc.integer({ min: 1, max: 20_000 }), { maxKeys: 12 }), (lengths) => {
    const caller = new Headers({ 'content-type': 'application/json' });
    for (const [name, length] of Object.entries(lengths)) caller.set(`x-${name}`, 'a'.repeat(length));
    const up = headersUp(caller, KEY);
    up.delete('x-api-key');
    up.delete('accept-encoding');
    up.delete('anthropic-version');
    const sent = [...up].reduce((sum, [name, text]) => sum + name.length + text.length, 0);
    expect(sent).toBeLessThanOrEqual(8_192);
    expect(up.get('content-type')).toBe('application/json');
    const all = [...caller].reduce((sum, [name, text]) => sum + name.length + text.length, 0);
    if (all <= 8_192) expect([...up]).toEqual([...caller]);
  });
});
