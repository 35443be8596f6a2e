/** What goes up to each kind of upstream, beside what the official client of that kind sends for the same call. */

import { createPublicKey, createVerify, generateKeyPairSync } from 'node:crypto';
import AnthropicAws from '@anthropic-ai/aws-sdk';
import { AnthropicBedrockMantle } from '@anthropic-ai/bedrock-sdk';
import AnthropicFoundry from '@anthropic-ai/foundry-sdk';
import Anthropic from '@anthropic-ai/sdk';
import { AnthropicVertex } from '@anthropic-ai/vertex-sdk';
import Old from 'anthropic-sdk-0';
import { GoogleAuth } from 'google-auth-library';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { toUpstreamHeaders } from '#edge/claude/headers.ts';
import { type ConfiguredUpstream, createConfiguredUpstreams } from '#edge/claude/providers/entry.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { editJson } from '#edge/kit/json/edit.ts';
import { expectedSignature, type SignedRequest, signatureParts } from './sigv4.ts';

const NOW = Date.UTC(2026, 10, 20, 23, 59, 58);
const ACCESS_KEY = {
  awsAccessKey: 'AKIAIOSFODNN7EXAMPLE',
  awsSecretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
};
const SESSION = 'FwoGZXIvYXdzEBYaDExample+Token/With=';
const SIGNING = `${ACCESS_KEY.awsAccessKey}:${ACCESS_KEY.awsSecretAccessKey}`;
const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ACCOUNT = {
  type: 'service_account',
  project_id: 'my-project',
  private_key_id: '0123456789abcdef',
  private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  client_email: 'edge@my-project.iam.gserviceaccount.com',
  token_uri: 'https://oauth2.googleapis.com/token',
};
const BY = { signal: new AbortController().signal, waitUntil: () => undefined };

beforeEach(() => {
  vi.useFakeTimers({ now: NOW, toFake: ['Date'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** The clients' own types differ; all of them have what is called here. */
type Client = Pick<Anthropic, 'messages' | 'beta'>;

/** Takes a request in place of the network, and answers with a message. */
class Recorder {
  readonly seen: SignedRequest[] = [];
  readonly fetch = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const request = new Request(input, init);
    const body = new Uint8Array(await request.clone().arrayBuffer());
    this.seen.push({ method: request.method, url: request.url, headers: new Headers(request.headers), body });
    return Response.json({ id: 'msg_1', type: 'message', role: 'assistant', content: [], usage: {}, input_tokens: 1 });
  };

  get only(): SignedRequest {
    const [first, ...others] = this.seen;
    if (!first || others.length > 0) throw new Error(`${this.seen.length} requests`);
    return first;
  }
}

const MESSAGES = [{ role: 'user' as const, content: 'Grüße, “world” — \u{1f30d}\n\\ \u0007' }];
const TOOLS = [{ name: 'look', input_schema: { type: 'object' as const } }];

/** Calls that each client can make, by a model's id. */
const CALLS: Record<string, (client: Client, model: string) => Promise<unknown>> = {
  'a message': (client, model) => client.messages.create({ model, max_tokens: 100, messages: MESSAGES }),
  'a message with more in it': (client, model) =>
    client.messages.create({
      model,
      max_tokens: 1,
      messages: MESSAGES,
      system: 'Be brief.',
      tools: TOOLS,
      stream: false,
    }),
  'a stream': (client, model) =>
    client.messages.create({ model, max_tokens: 100, messages: MESSAGES, stream: true }).catch(() => undefined),
  'a message with betas': (client, model) =>
    client.beta.messages.create({
      model,
      max_tokens: 100,
      messages: MESSAGES,
      betas: ['one-2026-01-01', 'two-2026-02-02'],
    }),
  'a stream with betas': (client, model) =>
    client.beta.messages
      .create({ model, max_tokens: 100, messages: MESSAGES, betas: ['one-2026-01-01'], stream: true })
      .catch(() => undefined),
  'a count': (client, model) => client.messages.countTokens({ model, messages: MESSAGES }),
  'a count with betas': (client, model) =>
    client.beta.messages.countTokens({ model, messages: MESSAGES, betas: ['one-2026-01-01'] }),
  'a message with a query and a header of one’s own': (client, model) =>
    client.messages.create(
      { model, max_tokens: 100, messages: MESSAGES },
      { query: { 'a b': 'c+d&e', z: "!'()*" }, headers: { 'x-own': ' much   space ' } },
    ),
};

interface Case {
  entry: Record<string, unknown>;
  secret: string;
  /** The id of the model there. */
  model: string;
  official(fetch: Recorder['fetch']): Client;
}

const tokenOfGoogle = 'ya29.token-of-google';
const vertexOf = (region: string, base?: string): Case => ({
  entry: { kind: 'vertex', project: 'my-project', region, ...(base && { base_url: base }) },
  secret: JSON.stringify(ACCOUNT),
  model: 'claude-opus-4-5@20251101',
  official: (fetch) =>
    new AnthropicVertex({
      region,
      projectId: 'my-project',
      fetch,
      ...(base && { baseURL: base }),
      authClient: {
        getRequestHeaders: async () => new Headers({ authorization: `Bearer ${tokenOfGoogle}` }),
      } as never,
    }) as unknown as Client,
});
const awsOf = (options: object, secret: string, more: object = {}): Case => ({
  entry: { kind: 'aws', region: 'us-west-2', workspace: 'wrkspc_01AbC', ...more },
  secret,
  model: 'claude-opus-4-5-20251101',
  official: (fetch) =>
    new AnthropicAws({ awsRegion: 'us-west-2', workspaceId: 'wrkspc_01AbC', fetch, ...options }) as unknown as Client,
});
const bedrockOf = (options: object, secret: string, more: object = {}): Case => ({
  entry: { kind: 'bedrock', region: 'eu-central-1', ...more },
  secret,
  model: 'anthropic.claude-opus-4-5',
  official: (fetch) =>
    new AnthropicBedrockMantle({ awsRegion: 'eu-central-1', fetch, ...options }) as unknown as Client,
});
const foundryOf = (options: object, secret: string, more: object): Case => ({
  entry: { kind: 'foundry', ...more },
  secret,
  model: 'claude-opus-4-5-20251101',
  official: (fetch) => new AnthropicFoundry({ fetch, ...options } as never) as unknown as Client,
});
const ENTRA = 'eyJ0eXAiOiJKV1QifQ.eyJhdWQiOiJodHRwcyJ9.c2lnbmF0dXJl';

const CASES: Record<string, Case> = {
  'anthropic, as clients before 1.0': {
    entry: { kind: 'anthropic' },
    secret: 'sk-ant-key',
    model: 'claude-opus-4-5-20251101',
    official: (fetch) => new Old({ apiKey: 'sk-ant-key', fetch }) as unknown as Client,
  },
  'aws, API key': awsOf({ apiKey: 'aws-key' }, 'aws-key'),
  'aws, signed': awsOf(ACCESS_KEY, SIGNING),
  'aws, signed for a session': awsOf({ ...ACCESS_KEY, awsSessionToken: SESSION }, `${SIGNING}:${SESSION}`),
  'aws at another address, signed': awsOf({ ...ACCESS_KEY, baseURL: 'https://proxy.example:8443/claude' }, SIGNING, {
    base_url: 'https://proxy.example:8443/claude/v1/',
  }),
  'bedrock, API key': bedrockOf({ apiKey: 'bedrock-key' }, 'bedrock-key'),
  'bedrock, signed': bedrockOf(ACCESS_KEY, SIGNING),
  'bedrock, signed for a session': bedrockOf({ ...ACCESS_KEY, awsSessionToken: SESSION }, `${SIGNING}:${SESSION}`),
  'vertex, global': vertexOf('global'),
  'vertex, us': vertexOf('us'),
  'vertex, eu': vertexOf('eu'),
  'vertex, a region': vertexOf('europe-west1'),
  'vertex at another address': vertexOf('us-east5', 'https://proxy.example/vertex/v1'),
  'foundry, API key': foundryOf({ resource: 'my-resource', apiKey: 'azure-key' }, 'azure-key', {
    resource: 'my-resource',
  }),
  'foundry at another address': foundryOf(
    { baseURL: 'https://x.example/anthropic/', apiKey: 'azure-key' },
    'azure-key',
    {
      base_url: 'https://x.example/anthropic/',
    },
  ),
  'foundry, a token of Entra': foundryOf({ resource: 'my-resource', azureADTokenProvider: async () => ENTRA }, ENTRA, {
    resource: 'my-resource',
  }),
};

const MODEL = 'claude-opus-4-5-20251101';

/** The one upstream of a deployment. */
function openedOf({ entry, secret }: Pick<Case, 'entry' | 'secret'>): ConfiguredUpstream {
  const [upstream] = createConfiguredUpstreams(
    parseSettings({ UPSTREAMS: JSON.stringify([{ name: 'one', ...entry }]), UPSTREAM_ONE_KEY: secret }),
  );
  if (!upstream) throw new Error('no upstream');
  return upstream;
}

/** Puts a request, as a client of the Claude API has sent it to this edge, into the form of an upstream. */
async function sentUp(upstream: ConfiguredUpstream, asked: SignedRequest): Promise<SignedRequest> {
  const { pathname, search } = new URL(asked.url);
  const text = new TextDecoder().decode(asked.body);
  const json = JSON.parse(text);
  const { 'x-api-key': _, ...headers } = toUpstreamHeaders(asked.headers, '', ['anthropic-user-profile-id']);
  const call = await upstream.prepare(
    {
      method: asked.method,
      path: pathname + search,
      headers,
      model: json.model,
      streams: json.stream,
      body: (changes) => editJson(text, changes),
    },
    {
      ...BY,
      fetch: async () => Response.json({ access_token: tokenOfGoogle, expires_in: 3599, token_type: 'Bearer' }),
    },
  );
  const recorder = new Recorder();
  await recorder.fetch(call.url, { method: call.method, headers: call.headers, body: call.body as string });
  return recorder.only;
}

/** All by which an upstream can tell two requests apart, without what a client says of itself and without the signature. */
function meaning({ method, url, headers, body }: SignedRequest) {
  const own = (name: string) =>
    /^(x-stainless-|user-agent$|host$|accept-encoding$|anthropic-dangerous-direct-browser-access$|x-amz-content-sha256$)/.test(
      name,
    );
  const all = Object.fromEntries([...headers].filter(([name]) => !own(name)));
  if (all.authorization?.startsWith('AWS4')) all.authorization = 'signed';
  // One client writes the query anew, and so a space in another way.
  const { origin, pathname, searchParams } = new URL(url);
  return {
    method,
    url: origin + pathname,
    query: [...searchParams],
    headers: all,
    body: JSON.parse(new TextDecoder().decode(body)),
  };
}

/**
 * Expects that a request is signed as the official client's is, at the same moment. The official client signs all its
 * headers but `user-agent`. The edge signs those that Amazon asks for, `host` and `x-amz-…`, as a proxy may write the
 * others anew. So the two signatures cannot be the same text. But each must be right for the request of the other one: then
 * all that either has signed, each header, the query and every byte of the body, is the same in both.
 */
function expectSameSigned(sent: SignedRequest, official: SignedRequest): void {
  const ours = signatureParts(sent.headers);
  const theirs = signatureParts(official.headers);
  expect(ours).toMatchObject({ accessKeyId: theirs.accessKeyId, scope: theirs.scope });
  const needed = [...official.headers.keys()].filter((name) => name.startsWith('x-amz-'));
  expect(ours.signedHeaders).toEqual(['host', ...needed].sort());
  const own = new Set(['authorization', 'user-agent']);
  expect(theirs.signedHeaders).toEqual([...official.headers.keys()].filter((name) => !own.has(name)).sort());
  for (const { headers, ...request } of [sent, official]) {
    for (const by of [sent, official]) {
      const signed = new Headers(headers);
      signed.set('authorization', by.headers.get('authorization') ?? '');
      const expected = expectedSignature({ ...request, headers: signed }, ACCESS_KEY.awsSecretAccessKey);
      expect(expected).toBe(signatureParts(by.headers).signature);
    }
  }
}

/** @returns whether a query of the caller's own is left out, since it would be signed with the operator's key */
function signsNoQuery({ secret }: Case, url: string): boolean {
  return secret.startsWith(SIGNING) && [...new URL(url).searchParams.keys()].some((name) => name !== 'beta');
}

describe.each(Object.entries(CASES))('%s', (_, one) => {
  const upstream = openedOf(one);

  test.each(Object.entries(CALLS))('sends %s as the official client does', async (_, call) => {
    const official = new Recorder();
    await call(one.official(official.fetch), one.model);
    const edge = new Recorder();
    const asking = one.entry.kind === 'anthropic' ? Old : Anthropic;
    await call(
      new asking({ apiKey: 'of-the-caller', baseURL: 'https://edge.example', fetch: edge.fetch }) as Client,
      MODEL,
    );
    const sent = await sentUp(upstream, edge.only);

    if (signsNoQuery(one, official.only.url)) {
      expect(meaning(sent)).toEqual({ ...meaning(official.only), query: [] });
      return;
    }
    expect(meaning(sent)).toEqual(meaning(official.only));
    expect(upstream.getClaudeModelName(one.model)).toBe(MODEL);
    if (!one.secret.startsWith(SIGNING)) return;
    expect(sent.body).toEqual(official.only.body);
    expectSameSigned(sent, official.only);
  });

  test('changes nothing in the body except the model and the fields taken from headers', async () => {
    const text = '{ "max_tokens" : 5,\n "model":"claude-opus-4-5" , "x": [1.0, 1e2, "\\u00e9"],"messages":[] }';
    const sent = await upstream.prepare(
      {
        method: 'POST',
        path: '/v1/messages',
        headers: { 'anthropic-version': '2023-06-01' },
        model: 'claude-opus-4-5',
        body: (changes) => editJson(text, changes),
      },
      { ...BY, fetch: async () => Response.json({ access_token: 'x', expires_in: 3599 }) },
    );
    const named = one.model.startsWith('claude-opus-4-5-') ? 'claude-opus-4-5' : one.model;
    const expected =
      one.entry.kind === 'vertex'
        ? text.replace('"model":"claude-opus-4-5" , ', '').replace('{', '{"anthropic_version":"2023-06-01",')
        : text.replace('"claude-opus-4-5"', JSON.stringify(named));
    expect(sent.body).toBe(expected);
  });
});

test('moves a user profile header into the body for Bedrock, unless the body has one', async () => {
  const one = CASES['bedrock, API key'];
  if (!one) throw new Error('no case');
  for (const body of [{}, { user_profile_id: 'own' }]) {
    const ask = (client: Client, model: string) =>
      client.messages.create({ model, max_tokens: 1, messages: MESSAGES, ...body } as never, {
        headers: { 'anthropic-user-profile-id': 'profile-1' },
      });
    const official = new Recorder();
    await ask(one.official(official.fetch), one.model);
    const edge = new Recorder();
    await ask(new Anthropic({ apiKey: 'x', baseURL: 'https://edge.example', fetch: edge.fetch }), MODEL);
    const sent = await sentUp(openedOf(one), edge.only);
    expect(meaning(sent)).toEqual(meaning(official.only));
    expect(sent.headers.has('anthropic-user-profile-id')).toBe(false);
  }
});

describe('Claude Platform on AWS supports the rest of the API', () => {
  test.each([
    ['models', (client: Anthropic) => client.models.list({ limit: 5 })],
    ['batches', (client: Anthropic) => client.messages.batches.list()],
  ])('%s', async (_, call) => {
    const one = CASES['aws, signed'];
    if (!one) throw new Error('no case');
    const official = new Recorder();
    await call(one.official(official.fetch) as Anthropic);
    const edge = new Recorder();
    await call(new Anthropic({ apiKey: 'x', baseURL: 'https://edge.example', fetch: edge.fetch }));
    const { pathname, search } = new URL(edge.only.url);
    const { 'x-api-key': own, ...headers } = toUpstreamHeaders(edge.only.headers, '', []);
    const adapted = await openedOf(one).prepare({ method: 'GET', path: pathname + search, headers }, BY);
    const sent = new Recorder();
    await sent.fetch(adapted.url, { method: 'GET', headers: adapted.headers });
    expect(sent.only.url).toBe(official.only.url);
    expect(sent.only.headers.get('anthropic-workspace-id')).toBe('wrkspc_01AbC');
    expectSameSigned(sent.only, official.only);
  });
});

test('requests a Google token in the same way as Google’s library', async () => {
  const auth = new GoogleAuth({ credentials: ACCOUNT, scopes: 'https://www.googleapis.com/auth/cloud-platform' });
  const jwt = await auth.getClient();
  const asked = new Recorder();
  jwt.transporter.defaults.fetchImplementation = async (input, init) => {
    await asked.fetch(input as string, init as RequestInit);
    return Response.json({ access_token: 'x', expires_in: 3599, token_type: 'Bearer' });
  };
  await jwt.getRequestHeaders();

  const ours = new Recorder();
  const upstream = openedOf({
    entry: { kind: 'vertex', project: 'p', region: 'global' },
    secret: JSON.stringify(ACCOUNT),
  });
  await upstream.prepare(
    { method: 'POST', path: '/v1/messages', headers: {}, model: MODEL },
    {
      ...BY,
      fetch: async (url, init) => {
        await ours.fetch(url, init);
        return Response.json({ access_token: 'x', expires_in: 3599 });
      },
    },
  );
  const read = ({ method, url, headers, body }: SignedRequest) => {
    const form = new URLSearchParams(new TextDecoder().decode(body));
    const [header = '', claims = '', signature = ''] = form.get('assertion')?.split('.') ?? [];
    const verify = createVerify('RSA-SHA256').update(`${header}.${claims}`);
    const json = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString());
    return {
      method,
      url,
      type: headers.get('content-type')?.split(';')[0],
      grant: form.get('grant_type'),
      header: json(header),
      claims: json(claims),
      holds: verify.verify(createPublicKey(publicKey.export({ type: 'spki', format: 'pem' })), signature, 'base64url'),
    };
  };
  expect(read(ours.only)).toMatchObject({ holds: true });
  expect(read(ours.only)).toEqual(read(asked.only));
});
