import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MODELS } from '#edge/claude/models/models.ts';
import { type ConfiguredUpstream, createConfiguredUpstreams } from '#edge/claude/providers/entry.ts';
import { toSimulatedModels } from '#edge/claude/simulated-models.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { ApiError } from '#edge/kit/http/errors.ts';
import { editJson } from '#edge/kit/json/edit.ts';
import { createSimulator } from '#simulator/simulator.ts';
import { answerAsService } from '#test/support/cloud-services.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';

const SIGNING = 'AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';
const ACCOUNT = JSON.stringify({
  client_email: 'a@b.iam.gserviceaccount.com',
  private_key: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' }),
  token_uri: 'https://oauth2.googleapis.com/token',
});

function open(fields: Record<string, unknown>, secret = 'key'): ConfiguredUpstream {
  const UPSTREAMS = JSON.stringify([{ name: 'one', ...fields }]);
  const [upstream] = createConfiguredUpstreams(parseSettings({ UPSTREAMS, UPSTREAM_ONE_KEY: secret }, true));
  if (!upstream) throw new Error('no upstream');
  return upstream;
}

const KINDS = {
  anthropic: () => open({ kind: 'anthropic' }),
  aws: () => open({ kind: 'aws', region: 'us-east-1', workspace: 'wrkspc_1' }),
  'aws, signed': () => open({ kind: 'aws', region: 'us-east-1', workspace: 'wrkspc_1' }, SIGNING),
  bedrock: () => open({ kind: 'bedrock', region: 'us-east-1' }),
  vertex: () => open({ kind: 'vertex', project: 'p', region: 'global' }, ACCOUNT),
  foundry: () => open({ kind: 'foundry', resource: 'r' }),
  'bedrock, signed': () => open({ kind: 'bedrock', region: 'us-east-1' }, SIGNING),
  simulator: () => open({ name: 'simulator', kind: 'simulator' }),
};

describe('findUnsupportedFeature', () => {
  const lacking = (kind: keyof typeof KINDS) => {
    const upstream = KINDS[kind]();
    const calls = [
      ['POST', '/v1/messages?beta=true'],
      ['POST', '/v1/messages/count_tokens'],
      ['POST', '/v1/messages/batches'],
      ['GET', '/v1/messages/batches/msgbatch_1'],
      ['POST', '/v1/files?beta=true'],
      ['GET', '/v1/files/file_1'],
      ['GET', '/v1/models'],
    ] as const;
    return calls.flatMap(([method, path]) => upstream.findUnsupportedFeature({ method, path, headers: {} }) ?? []);
  };

  test('returns the features that each kind lacks', () => {
    expect(lacking('anthropic')).toEqual([]);
    expect(lacking('aws')).toEqual([]);
    expect(lacking('aws, signed')).toEqual([
      'message batches with an access key in place of an API key',
      'files with an access key in place of an API key',
    ]);
    const narrow = ['message batches', 'message batches', 'files', 'files', 'models'];
    expect(lacking('bedrock')).toEqual(narrow);
    expect(lacking('vertex')).toEqual(narrow);
    expect(lacking('foundry')).toEqual(['message batches', 'message batches', 'models']);
  });
});

describe('isMissingModelBody', () => {
  const model = 'claude-opus-5-5';
  const error = (of: object) => JSON.stringify({ error: of });
  const ofTheApi = (message: string) => JSON.stringify({ type: 'error', error: { type: 'not_found_error', message } });
  const google = { code: 404, status: 'NOT_FOUND' };
  const publisher = `Publisher Model \`projects/p/locations/global/publishers/anthropic/models/${model}\` was not found`;
  const deployment = { code: 'DeploymentNotFound', message: 'The API deployment for this resource does not exist.' };

  test.each([
    ['anthropic', ofTheApi(`model: ${model}`)],
    ['anthropic', ofTheApi(`model: ${model}. This model was retired on 2026-01-01.`)],
    ['aws', ofTheApi(`model: ${model}`)],
    ['bedrock', ofTheApi(`model: anthropic.${model}`)],
    ['bedrock', ofTheApi(`The model '${model}' does not exist`)],
    ['vertex', error({ ...google, message: publisher })],
    ['vertex', `[${error({ ...google, message: publisher })}]`],
    ['foundry', error(deployment)],
    ['foundry', ofTheApi(`model: ${model}`)],
  ] as const)('is true for %s: %s', (kind, text) => {
    expect(KINDS[kind]().isMissingModelBody(text, model)).toBe(true);
  });

  test.each([
    ['anthropic', ofTheApi('File not found: file_1')],
    ['anthropic', ofTheApi(`model: ${model}-of-mine`)],
    ['anthropic', ofTheApi(`fallbacks.0.model: x.${model}`)],
    ['anthropic', 'Not found'],
    ['anthropic', '[]'],
    ['bedrock', ofTheApi(`model: x-${model}`)],
    ['vertex', error({ ...google, message: 'The method predict was not found.' })],
    ['foundry', error({ code: '404', message: 'Resource not found' })],
  ] as const)('is false for %s: %s', (kind, text) => {
    expect(KINDS[kind]().isMissingModelBody(text, model)).toBe(false);
  });
});

describe('model ids', () => {
  test('map every known model to an id of each kind and back, and aliases too at Bedrock and Vertex', () => {
    for (const make of Object.values(KINDS)) {
      const upstream = make();
      for (const { id, aliases } of MODELS) {
        const there = upstream.idOf(id);
        expect(upstream.getClaudeModelName(there ?? '')).toBe(id);
        if (!/bedrock|vertex/.test(upstream.entry.kind)) continue;
        for (const alias of aliases) expect(upstream.idOf(alias)).toBe(there);
      }
    }
  });

  test.each([
    ['bedrock', 'claude-opus-5-5', 'anthropic.claude-opus-5-5'],
    ['bedrock', 'claude-haiku-4-5', 'anthropic.claude-haiku-4-5'],
    ['bedrock', 'claude-haiku-4-5-20251001', 'anthropic.claude-haiku-4-5'],
    ['bedrock', 'global.anthropic.claude-sonnet-5-5', 'global.anthropic.claude-sonnet-5-5'],
    ['bedrock', 'claude-of-tomorrow', 'anthropic.claude-of-tomorrow'],
    ['vertex', 'claude-opus-5-5', 'claude-opus-5-5'],
    ['vertex', 'claude-haiku-4-5', 'claude-haiku-4-5@20251001'],
    ['vertex', 'claude-haiku-4-5-20251001', 'claude-haiku-4-5@20251001'],
    ['vertex', 'claude-haiku-4-5@20251001', 'claude-haiku-4-5@20251001'],
    ['foundry', 'claude-haiku-4-5', 'claude-haiku-4-5'],
    ['aws', 'claude-haiku-4-5', 'claude-haiku-4-5'],
  ] as const)('at %s, the id of %s is %s', (kind, model, id) => {
    expect(KINDS[kind]().idOf(model)).toBe(id);
  });

  test('that a caller invents change neither the path nor the method', async () => {
    const upstream = open(
      { kind: 'vertex', project: 'p', region: 'global', base_url: 'http://localhost:1/v1' },
      ACCOUNT,
    );
    const name = fc.oneof(
      fc.string({ minLength: 1 }),
      fc.stringMatching(/^[./:;?#@%\\a\r\n]{1,12}$/),
      // Half a surrogate pair, as JSON can write it.
      fc.constantFrom('\ud800', 'claude-\udc00'),
    );
    await tryAsyncCases(caseCount(500), name, async (model) => {
      const { url } = await upstream.prepare(
        { method: 'POST', path: '/v1/messages', headers: {}, model, streams: true },
        {
          signal: new AbortController().signal,
          waitUntil: () => undefined,
          fetch: async () => Response.json({ access_token: 'x', expires_in: 3_600 }),
        },
      );
      const { pathname, search, hash } = new URL(url);
      expect(pathname).toMatch(
        /^\/v1\/projects\/p\/locations\/global\/publishers\/anthropic\/models\/[^/]*:streamRawPredict$/,
      );
      expect(search + hash).toBe('');
    });
  });
});

describe('a field that would change the address is rejected', () => {
  const refusal = (fields: Record<string, unknown>) => {
    try {
      open(fields, 'key');
    } catch (thrown) {
      if (thrown instanceof ApiError) return thrown.message;
      throw thrown;
    }
    return 'accepted';
  };

  test.each([
    [{ kind: 'bedrock' }, 'region must be a text such as "us-east-1"'],
    [{ kind: 'bedrock', region: 'evil.example/' }, 'region must be a name such as'],
    [{ kind: 'bedrock', region: 'evil.example' }, 'region must be a name such as'],
    [{ kind: 'aws', region: 'us-east-1' }, 'workspace must be a text such as'],
    [{ kind: 'aws', region: 'us-east-1', workspace: 'a\r\nb' }, 'workspace must be a name such as'],
    [{ kind: 'vertex', region: 'global', project: '../../../upstream/other' }, 'project must be a name such as'],
    [{ kind: 'vertex', region: 'global', project: 'a/b' }, 'project must be a name such as'],
    [{ kind: 'foundry' }, 'it needs either resource or base_url'],
    [{ kind: 'foundry', resource: 'r', base_url: 'https://x.example' }, 'it needs either resource or base_url'],
    [{ kind: 'foundry', resource: 'r.evil' }, 'resource must be a name such as'],
    [{ kind: 'simulator', as: 'bedrock' }, 'it unrecognized key: "as"'],
    [{ kind: 'bedrock', region: 'us-east-1', workspace: 'w' }, 'it unrecognized key: "workspace"'],
  ])('%j', (fields, told) => {
    expect(refusal(fields)).toContain(`the entry "one": ${told}`);
  });
});

describe('the service of each kind accepts the forwarded requests', () => {
  test.each(Object.entries(KINDS))('%s', async (_, make) => {
    const upstream = make();
    const claude = createSimulator({ models: toSimulatedModels(MODELS) });
    for (const [path, streams] of [
      ['/v1/messages', false],
      ['/v1/messages?beta=true', true],
      ['/v1/messages/count_tokens', false],
    ] as const) {
      const model = 'claude-haiku-4-5';
      const json = { model, messages: [{ role: 'user', content: 'Hello' }] };
      const body = path.endsWith('tokens') ? json : { ...json, max_tokens: 9, ...(streams && { stream: true }) };
      const sent = await upstream.prepare(
        {
          method: 'POST',
          path,
          headers: { 'anthropic-version': '2023-06-01', 'content-type': 'application/json' },
          model,
          streams,
          body: (changes) => editJson(JSON.stringify(body), changes),
        },
        {
          signal: new AbortController().signal,
          waitUntil: () => undefined,
          fetch: async () => Response.json({ access_token: 'ya29.x', expires_in: 3_600 }),
        },
      );
      const request = new Request(sent.url, { method: 'POST', headers: sent.headers, body: sent.body as string });
      const answer = await answerAsService(request, claude);
      expect([path, answer.status, await answer.text()]).toEqual([path, 200, expect.any(String)]);
      expect(answer.headers.get('content-type')?.includes('event-stream')).toBe(streams);
    }
  });
});
