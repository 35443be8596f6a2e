// In workerd: the cryptography is the runtime's.
import 'cloudflare:workers';

import { describe, expect, test, vi } from 'vitest';
import { type HmacOptions, hmac } from '#edge/kit/delivery/hmac.ts';
import type { SignatureScheme } from '#edge/kit/delivery/signature.ts';
import {
  createStandardWebhookHeaders,
  readStandardWebhookHeaders,
  verifyStandard,
} from '#edge/kit/delivery/standard-webhooks.ts';
import { verifyGithub, verifySlack, verifyStripe } from '#edge/plugins/webhooks/sources/signatures.ts';
import { signGithub, signHmac, signSlack, signStripe } from '../../../../scripts/sign-webhook.ts';

interface Vector {
  verify: SignatureScheme;
  secret: string;
  /** Seconds since 1970 at which it was signed; undefined for a scheme without a time. */
  at?: number;
  body: string;
  headers: Record<string, string>;
  /** The part of a header's value that does not count. */
  free?: RegExp;
}

/** What the senders themselves publish. */
const PUBLISHED: Record<string, Vector> = {
  // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
  GitHub: {
    verify: verifyGithub,
    secret: "It's a Secret to Everybody",
    body: 'Hello, World!',
    headers: { 'x-hub-signature-256': 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17' },
  },
  // https://docs.slack.dev/authentication/verifying-requests-from-slack
  Slack: {
    verify: verifySlack,
    secret: '8f742231b10e8888abcd99yyyzzz85a5',
    at: 1531420618,
    body: 'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c',
    headers: {
      'x-slack-request-timestamp': '1531420618',
      'x-slack-signature': 'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503',
    },
  },
  // stripe/stripe-dotnet, src/StripeTests/Services/Events/EventUtilityTest.cs and Resources/event_test_signature.json:
  // the documentation of Stripe shows a header, but neither the body nor the secret that belong to it.
  Stripe: {
    verify: verifyStripe,
    secret: 'webhook_secret',
    at: 1533204620,
    body: `{
  "id": "evt_123",
  "object": "event",
  "account": "acct_123",
  "api_version": "2017-05-25",
  "created": 1533204620,
  "data": {
    "object": {
      "id": "cus_123",
      "object": "customer",
      "created": 123456789,
      "email": "test@stripe.com",
      "livemode": false,
      "metadata": {}
    }
  },
  "livemode": false,
  "pending_webhooks": 1,
  "request": {
    "id": "req_123",
    "idempotency_key": "idempotency-key-123"
  },
  "type": "customer.created"
}
`,
    headers: {
      'stripe-signature':
        't=1533204620,v1=2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7,v0=63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef',
    },
    free: /,v0=.*$/,
  },
  // standard-webhooks/standard-webhooks, libraries/javascript/src/index.test.ts
  'Standard Webhooks': {
    verify: verifyStandard,
    secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
    at: 1614265330,
    body: '{"test": 2432232314}',
    headers: {
      'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    },
  },
};

// Svix, which wrote the specification, sends the same by other names.
const { headers: named, ...published } = PUBLISHED['Standard Webhooks'] as Vector;
const renamed = Object.entries(named).map(([name, value]) => [name.replace('webhook', 'svix'), value]);
PUBLISHED.Svix = { ...published, headers: Object.fromEntries(renamed) };

const encode = (text: string) => new TextEncoder().encode(text);

/** Judges at a time, in seconds since 1970. */
async function judge(vector: Vector, change: Partial<Vector & { bytes: Uint8Array; secrets: string[] }> = {}) {
  const { verify, secret, at = 1_800_000_000, body, headers, bytes, secrets } = { ...vector, ...change };
  const request = { headers: new Headers(headers), bytes: bytes ?? encode(body), now: at * 1_000 };
  const verdict = await verify.verify(request, secrets ?? [secret]);
  // The headers alone tell as much, before there is a body.
  const told = verdict === 'missing' || verdict === 'stale' ? verdict : undefined;
  expect(verify.precheckHeaders(request.headers, request.now)).toBe(told);
  return verdict;
}

/** The same text with one character changed, at each place, into one that a header or a body may have as well. */
const altered = (text: string) =>
  Array.from(text, (_, at) => [1, 2, 0x20].map((bit) => [at, String.fromCharCode(text.charCodeAt(at) ^ bit)] as const))
    .flat()
    .filter(([, character]) => /[\x21-\x7e]/.test(character))
    .map(([at, character]) => text.slice(0, at) + character + text.slice(at + 1));

describe.each(Object.entries(PUBLISHED))('the documented example signature of %s', (_, vector) => {
  test('is valid', async () => {
    expect(await judge(vector)).toBe('valid');
  });

  test('is valid with any of several secrets, and forged with any other', async () => {
    const other = 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD';
    expect(await judge(vector, { secrets: [other, vector.secret] })).toBe('valid');
    expect(await judge(vector, { secrets: [vector.secret, other] })).toBe('valid');
    expect(await judge(vector, { secrets: [other] })).toBe('forged');
    expect(await judge(vector, { secrets: [] })).toBe('forged');
  });

  test('is forged if any byte of the body changes, or if the body is longer or shorter', async () => {
    const bytes = encode(vector.body);
    for (let at = 0; at < bytes.length; at += 1) {
      const changed = bytes.slice();
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      expect(await judge(vector, { bytes: changed }), `byte ${at}`).toBe('forged');
    }
    expect(await judge(vector, { body: `${vector.body} ` })).toBe('forged');
    expect(await judge(vector, { body: vector.body.slice(1) })).toBe('forged');
    expect(await judge(vector, { body: '' })).toBe('forged');
  });

  test('is not valid if any character of a header changes', async () => {
    for (const [name, value] of Object.entries(vector.headers)) {
      const free = vector.free?.exec(value)?.[0] ?? '';
      for (const other of altered(value.slice(0, value.length - free.length))) {
        const verdict = await judge(vector, { headers: { ...vector.headers, [name]: other + free } });
        expect(verdict, `${name}: ${other}`).not.toBe('valid');
      }
    }
  });

  test('is missing, not forged, if a header is absent or empty', async () => {
    for (const name of Object.keys(vector.headers)) {
      const { [name]: __, ...rest } = vector.headers;
      expect(await judge(vector, { headers: rest }), name).toBe('missing');
      expect(await judge(vector, { headers: { ...rest, [name]: '' } }), name).toBe('missing');
    }
  });

  test('is stale more than five minutes before or after its timestamp, if the scheme has one', async () => {
    if (vector.at === undefined) return;
    for (const away of [-299, 0, 299]) expect(await judge(vector, { at: vector.at + away })).toBe('valid');
    for (const away of [-302, 302, -1e9, 1e9]) expect(await judge(vector, { at: vector.at + away })).toBe('stale');
  });
});

test('Stripe: one valid v1 signature of several is enough; v0 and repeated timestamps are rejected', async () => {
  const vector = PUBLISHED.Stripe as Vector;
  const [t = '', v1 = ''] = (vector.headers['stripe-signature'] ?? '').split(',');
  const header = (value: string) => judge(vector, { headers: { 'stripe-signature': value } });
  expect(await header(`${t},v1=${'ab'.repeat(32)},${v1}`)).toBe('valid');
  expect(await header(`${t}, ${v1}`)).toBe('valid');
  expect(await header(`${t},${v1.replace('v1', 'v0')}`)).toBe('missing');
  expect(await header(`${t},t=1,${v1}`)).toBe('missing');
});

test('Svix: the svix- headers are read only if no webhook- header is present', async () => {
  const vector = PUBLISHED.Svix as Vector;
  const headers = { ...vector.headers, 'webhook-id': 'another' };
  expect(await judge(vector, { headers })).toBe('missing');
  expect(readStandardWebhookHeaders(new Headers(headers))[0]).toBe('another');
  expect(readStandardWebhookHeaders(new Headers(vector.headers))[0]).toBe(vector.headers['svix-id']);
});

test('Standard Webhooks: one valid v1 signature of several is enough; other versions are ignored', async () => {
  const vector = PUBLISHED['Standard Webhooks'] as Vector;
  const signature = vector.headers['webhook-signature'] ?? '';
  const header = (value: string) => judge(vector, { headers: { ...vector.headers, 'webhook-signature': value } });
  expect(await header(`v1,AAAA v1a,AAAA ${signature}`)).toBe('valid');
  expect(await header(signature.replace('v1', 'v2'))).toBe('missing');
  expect(await header('v1')).toBe('missing');
});

describe('verification of 2,000 signatures', () => {
  const hmacs = () => vi.spyOn(crypto.subtle, 'sign');
  const stripe = PUBLISHED.Stripe as Vector;
  const standard = PUBLISHED['Standard Webhooks'] as Vector;
  const [time = '', genuine = ''] = (stripe.headers['stripe-signature'] ?? '').split(',');
  const stripeBy = (entries: string[]) => ({ headers: { 'stripe-signature': [time, ...entries].join(',') } });
  const standardBy = (entries: string[]) => ({
    headers: { ...standard.headers, 'webhook-signature': entries.join(' ') },
  });
  const forged = Array.from({ length: 2_000 }, (_, n) => n.toString(16).padStart(64, '0'));
  const forgedStandard = forged.map((_, n) => `v1,${btoa(String(n).padStart(32, 'x'))}`);

  test.each<[string, Vector, object]>([
    ['Stripe', stripe, stripeBy(forged.map((hex) => `v1=${hex}`))],
    ['Standard Webhooks', standard, standardBy(forgedStandard)],
  ])('computes one HMAC for each secret: %s', async (_, vector, headers) => {
    const calls = hmacs();
    expect(await judge(vector, headers)).toBe('forged');
    expect(calls).toHaveBeenCalledTimes(1);
    const other = 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD';
    expect(await judge(vector, { ...headers, secrets: [vector.secret, other] })).toBe('forged');
    expect(calls).toHaveBeenCalledTimes(3);
  });

  test('compares the first ten signatures of the right length, and ignores the rest', async () => {
    const nine = forged.slice(0, 9).map((hex) => `v1=${hex}`);
    const short = Array.from({ length: 100 }, () => `v1=${'ab'.repeat(31)}`);
    expect(await judge(stripe, stripeBy([...short, ...nine, genuine]))).toBe('valid');
    expect(await judge(stripe, stripeBy([...short, ...nine, ...nine.slice(0, 1), genuine]))).toBe('forged');
    expect(await judge(stripe, stripeBy(short))).toBe('missing');
    const v1 = standard.headers['webhook-signature'] ?? '';
    expect(await judge(standard, standardBy([...forgedStandard.slice(0, 9), v1]))).toBe('valid');
    expect(await judge(standard, standardBy([...forgedStandard.slice(0, 10), v1]))).toBe('forged');
    expect(await judge(standard, standardBy([`v1,${btoa('x'.repeat(31))}`]))).toBe('missing');
  });
});

const OPTIONS: HmacOptions[] = [
  { header: 'x-signature' },
  { header: 'x-signature', algorithm: 'SHA-512', encoding: 'base64' },
  { header: 'x-hub-signature', algorithm: 'SHA-1', prefix: 'sha1=' },
  { header: 'x-shopify-hmac-sha256', encoding: 'base64' },
];

test.each(OPTIONS)('verifies a signature by HMAC options %o, and rejects a changed one', async (options) => {
  const body = '{"text":"Grüezi 🌍"}';
  const headers = Object.fromEntries(await signHmac(encode(body), 'a secret', options));
  const vector = { verify: hmac(options), secret: 'a secret', body, headers };
  expect(await judge(vector)).toBe('valid');
  expect(await judge(vector, { body: body.replace('G', 'g') })).toBe('forged');
  for (const other of altered(headers[options.header] ?? '')) {
    expect(await judge(vector, { headers: { [options.header]: other } }), other).not.toBe('valid');
  }
});

test('signHmac computes the same HMAC as openssl', async () => {
  // printf 'Hello, World!' | openssl dgst -sha1 -hmac key
  const signed = await signHmac(encode('Hello, World!'), 'key', { header: 'x', algorithm: 'SHA-1' });
  expect(signed.get('x')).toBe('b688f6f2602474b86713f193726755f0095edc8b');
});

test('a signature from the local server’s signing functions is valid', async () => {
  const [body, secret, now] = ['{"a":1}', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 1_800_000_000_000];
  const signed: [SignatureScheme, Headers][] = [
    [verifyGithub, await signGithub(body, secret, 'issues', 'one')],
    [verifyStripe, await signStripe(encode(body), secret, now)],
    [verifySlack, await signSlack(encode(body), secret, now)],
    [verifyStandard, await createStandardWebhookHeaders(body, secret, 'one', now)],
  ];
  for (const [verify, headers] of signed) {
    const vector = { verify, secret, body, headers: Object.fromEntries(headers) };
    expect(await judge(vector, { at: now / 1_000 })).toBe('valid');
  }
});
