/** Each upstream gets its own credential, whatever the others are and whatever a caller sends. */

import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { toUpstreamHeaders } from '#edge/claude/headers.ts';
import { type ConfiguredUpstream, createConfiguredUpstreams } from '#edge/claude/providers/entry.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { ApiError } from '#edge/kit/http/errors.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';

const token = (length: number) =>
  fc.string({ unit: fc.constantFrom(...'ABCDEFGHJKLMNPQRSTUVWXYZ0123456789'), minLength: length, maxLength: length });
const pem = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' });

/** A secret: what is set, and the parts of it that must reach nobody but, at most, its own upstream. */
const apiKey = token(24).map((key) => ({ secret: `key-${key}`, parts: [key], neverSent: [] as string[] }));
const signing = fc.tuple(token(20), token(40), fc.option(token(60))).map(([id, key, session]) => ({
  secret: [id, key, ...(session ? [session] : [])].join(':'),
  parts: [id, ...(session ? [session] : [])],
  neverSent: [key],
}));
const account = token(12).map((id) => ({
  secret: JSON.stringify({
    client_email: `${id}@example.iam.gserviceaccount.com`,
    private_key: pem,
    private_key_id: id,
    token_uri: `https://oauth2.example/${id}`,
  }),
  parts: [id],
  neverSent: [String(pem).split('\n')[1] ?? ''],
}));

const upstream = fc.oneof(
  apiKey.map((key) => ({ fields: { kind: 'anthropic' }, ...key })),
  fc
    .oneof(apiKey, signing)
    .map((key) => ({ fields: { kind: 'aws', region: 'us-east-1', workspace: 'wrkspc_1' }, ...key })),
  fc.oneof(apiKey, signing).map((key) => ({ fields: { kind: 'bedrock', region: 'us-east-1' }, ...key })),
  account.map((key) => ({ fields: { kind: 'vertex', project: 'p', region: 'global' }, ...key })),
  apiKey.map((key) => ({ fields: { kind: 'foundry', resource: 'r' }, ...key })),
);

const CREDENTIALS = [
  'authorization',
  'x-api-key',
  'api-key',
  'x-goog-api-key',
  'x-goog-user-project',
  'x-amz-security-token',
  'x-amz-date',
  'x-amz-content-sha256',
  'ocp-apim-subscription-key',
  'cookie',
  'proxy-authorization',
  'anthropic-workspace-id',
  'helicone-auth',
  'x-portkey-api-key',
];
const callerHeaders = fc.dictionary(
  fc.oneof(fc.constantFrom(...CREDENTIALS), fc.constantFrom('x-own', 'anthropic-beta', 'user-agent')),
  token(12).map((value) => `caller-${value}`),
);
const forwarded = fc.subarray([
  'api-key',
  'x-goog-*',
  'x-amz-*',
  'helicone-*',
  'x-portkey-*',
  'anthropic-workspace-id',
]);

async function sent(one: ConfiguredUpstream, headers: Record<string, string>, tokens: string[]): Promise<string> {
  let asked = '';
  const request = await one.prepare(
    {
      method: 'POST',
      path: '/v1/messages',
      headers,
      model: 'claude-opus-5-5',
      streams: true,
      body: (changes) => JSON.stringify({ messages: [], ...changes }),
    },
    {
      signal: new AbortController().signal,
      waitUntil: () => undefined,
      fetch: async (url, init) => {
        asked = `${url} ${init.body}`;
        const access_token = `google-${crypto.randomUUID()}`;
        tokens.push(access_token);
        return Response.json({ access_token, expires_in: 3_600 });
      },
    },
  );
  return `${JSON.stringify(request)} ${asked}`;
}

test('sends no credential to another upstream, and no signing key to any upstream', async () => {
  const sets = fc.array(upstream, { minLength: 2, maxLength: 5 });
  await tryAsyncCases(caseCount(200), sets, callerHeaders, forwarded, async (set, given, forward) => {
    const entries = set.map(({ fields }, index) => ({ name: `u${index}`, ...fields }));
    const keys = Object.fromEntries(set.map(({ secret }, index) => [`UPSTREAM_U${index}_KEY`, secret]));
    const settings = parseSettings({
      UPSTREAMS: JSON.stringify(entries),
      ANTHROPIC_API_KEY: 'sk-ant-of-the-deployment',
      FORWARD_HEADERS: forward.join(','),
      ...keys,
    });
    const headers = toUpstreamHeaders(new Headers(given), settings.ANTHROPIC_API_KEY ?? '', settings.FORWARD_HEADERS);
    const tokens: string[] = [];
    const all: string[] = [];
    for (const one of createConfiguredUpstreams(settings)) all.push(await sent(one, { ...headers }, tokens));
    for (const [index, text] of all.entries()) {
      for (const secret of set.flatMap(({ neverSent }) => neverSent)) expect(text).not.toContain(secret);
      for (const [other, { parts }] of set.entries()) {
        for (const part of parts) if (other !== index) expect(text).not.toContain(part);
      }
      for (const name of tokens) expect(text.includes(name) && set[index]?.fields.kind !== 'vertex').toBe(false);
      if (!(set[index]?.fields.kind === 'anthropic')) {
        // What a caller sends for a gateway, or in place of a credential, reaches no service.
        for (const name of CREDENTIALS) {
          const value = given[name];
          const isTheirs = name === 'anthropic-workspace-id' && set[index]?.fields.kind !== 'aws';
          if (value !== undefined && !isTheirs) expect(text).not.toContain(value);
        }
      }
      expect(text).not.toContain('sk-ant-of-the-deployment');
    }
    expect(new Set(tokens).size).toBe(tokens.length);
  });
});

test.each([
  ['anthropic', {}],
  ['foundry', { resource: 'r' }],
  ['aws', { region: 'us-east-1', workspace: 'w' }],
  ['bedrock', { region: 'us-east-1' }],
  ['vertex', { project: 'p', region: 'global' }],
])('reports the setting of a malformed secret of %s, but never its value', (kind, fields) => {
  const takesAny = kind === 'anthropic' || kind === 'foundry';
  const malformed = ['AKIASECRETSECRET12:short', '{"secret":1}:x', 'AKIASECRETSECRET12:a:b:c:d'];
  for (const secret of ['two words of a secret', 'two\nlines of a secret', 'sécret', ...(takesAny ? [] : malformed)]) {
    let told = '';
    try {
      createConfiguredUpstreams(
        parseSettings({ UPSTREAMS: JSON.stringify([{ name: 'one', kind, ...fields }]), UPSTREAM_ONE_KEY: secret }),
      );
    } catch (thrown) {
      if (!(thrown instanceof ApiError)) throw thrown;
      told = thrown.message;
    }
    expect(told).toMatch(/^UPSTREAM_ONE_KEY of the upstream "one" must be /);
    expect(told).not.toMatch(/secret(?!AccessKey)|AKIA/i);
  }
});
