/** The official clients of each service, against the simulator behind the service's form. */

import AnthropicAws from '@anthropic-ai/aws-sdk';
import { AnthropicBedrockMantle } from '@anthropic-ai/bedrock-sdk';
import AnthropicFoundry from '@anthropic-ai/foundry-sdk';
import type Anthropic from '@anthropic-ai/sdk';
import { AnthropicVertex } from '@anthropic-ai/vertex-sdk';
import { describe, expect, test } from 'vitest';
import { model, requiredHeaders, simulated } from '../simulator/api.ts';
import { answerAsService } from './cloud-services.ts';

const claude = simulated();
const simulate = (request: Request) => answerAsService(request, claude);
const fetchIt = (input: string | URL | Request, init?: RequestInit) => simulate(new Request(input, init));
const AWS = { awsRegion: 'us-east-1', fetch: fetchIt, maxRetries: 0 };
const SIGNING = { awsAccessKey: 'AKIAIOSFODNN7EXAMPLE', awsSecretAccessKey: 'wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY' };
const google = (headers: Record<string, string>) => ({ getRequestHeaders: async () => new Headers(headers) }) as never;
const vertex = { region: 'global', projectId: 'p', fetch: fetchIt, maxRetries: 0 };

const CLIENTS = {
  aws: new AnthropicAws({ ...AWS, workspaceId: 'wrkspc_1', apiKey: 'key' }),
  'aws, signed': new AnthropicAws({ ...AWS, workspaceId: 'wrkspc_1', ...SIGNING }),
  bedrock: new AnthropicBedrockMantle({ ...AWS, apiKey: 'key' }),
  'bedrock, signed': new AnthropicBedrockMantle({ ...AWS, ...SIGNING, awsSessionToken: 'token' }),
  vertex: new AnthropicVertex({ ...vertex, authClient: google({ authorization: 'Bearer ya29.x' }) }),
  foundry: new AnthropicFoundry({ resource: 'r', apiKey: 'key', fetch: fetchIt, maxRetries: 0 }),
} as unknown as Record<string, Pick<Anthropic, 'messages' | 'beta'>>;

const messages = [{ role: 'user' as const, content: 'Hello' }];

describe.each(Object.entries(CLIENTS))('%s', (name, client) => {
  const id = name.startsWith('bedrock') ? `anthropic.${model}` : model;

  test('responds, streams and counts like the Claude API', async () => {
    const direct = await simulate(
      new Request('https://api.test/v1/messages', {
        method: 'POST',
        headers: { ...requiredHeaders, 'anthropic-version': '2026-10-21' },
        body: JSON.stringify({ model, max_tokens: 50, messages }),
      }),
    );
    const { content } = (await direct.json()) as { content: unknown };
    const answer = await client.messages.create({ model: id, max_tokens: 50, messages });
    expect(answer).toMatchObject({ type: 'message', model, content });
    const streamed = await client.messages.stream({ model: id, max_tokens: 50, messages }).finalMessage();
    expect(streamed).toMatchObject({ type: 'message', model, content });
    const { input_tokens } = await client.messages.countTokens({ model: id, messages });
    expect(input_tokens).toBe(answer.usage.input_tokens);
    const betas = ['skills-2025-10-02'];
    expect((await client.beta.messages.create({ model: id, max_tokens: 5, messages, betas })).type).toBe('message');
  });

  test('rejects an unknown model and an invalid body', async () => {
    await expect(client.messages.create({ model: 'claude-none', max_tokens: 5, messages })).rejects.toMatchObject({
      status: 404,
    });
    await expect(client.messages.create({ model: id, max_tokens: 5, messages: [] })).rejects.toMatchObject({
      status: 400,
    });
  });
});

describe('a simulated cloud service rejects a missing or malformed credential as the real one does', () => {
  const ask = async (
    url: string,
    headers: Record<string, string>,
    body: object = { model, max_tokens: 5, messages },
  ) => {
    const answer = await simulate(
      new Request(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'anthropic-version': '2023-06-01', ...headers },
        body: JSON.stringify(body),
      }),
    );
    expect(answer.headers.get('sluice-upstream')).toBe('simulator');
    return { status: answer.status, body: await answer.json() };
  };

  test('at Bedrock', async () => {
    const url = 'https://bedrock-mantle.us-east-1.api.aws/anthropic/v1/messages';
    expect(await ask(url, {})).toEqual({ status: 403, body: { message: 'Missing Authentication Token' } });
    expect((await ask(url, { authorization: 'AWS4-HMAC-SHA256 nonsense' })).status).toBe(403);
    const of = async (change: (request: Request) => RequestInit & { url?: string }) => {
      let status = 0;
      const client = new AnthropicBedrockMantle({
        ...AWS,
        ...SIGNING,
        fetch: async (input, init) => {
          const request = new Request(input as string, init as RequestInit);
          const { url = request.url, ...changed } = change(request);
          const answer = await simulate(
            new Request(url, { method: 'POST', headers: request.headers, body: await request.text(), ...changed }),
          );
          status = answer.status;
          return answer;
        },
      });
      await client.messages.create({ model: `anthropic.${model}`, max_tokens: 5, messages }).catch(() => undefined);
      return status;
    };
    const withHeader = (name: string, value: string) => (request: Request) => {
      const headers = new Headers(request.headers);
      headers.set(name, value);
      return { headers };
    };
    expect(await of(() => ({}))).toBe(200);
    expect(await of(({ url }) => ({ url: url.replace('us-east-1', 'eu-west-1') }))).toBe(403);
    expect(await of(({ url }) => ({ url: url.replace('bedrock-mantle', 'aws-external-anthropic') }))).toBe(400);
    expect(await of(() => ({ body: '{}' }))).toBe(403);
    expect(await of(withHeader('x-amz-date', '20200101T000000Z'))).toBe(403);
    expect(await of(withHeader('x-amz-security-token', 'not-signed'))).toBe(403);
  });

  test('at Claude Platform on AWS, which also requires a workspace', async () => {
    const url = 'https://aws-external-anthropic.us-east-1.api.aws/v1/messages';
    expect(await ask(url, { authorization: 'Bearer key' })).toMatchObject({
      status: 400,
      body: { error: { message: 'anthropic-workspace-id: header is required' } },
    });
    expect((await ask(url, { 'anthropic-workspace-id': 'w' })).status).toBe(401);
  });

  test('at Vertex AI', async () => {
    const of = (method: string) =>
      `https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/anthropic/models/${model}:${method}`;
    const right = { anthropic_version: '2023-06-01', max_tokens: 5, messages };
    const headers = { authorization: 'Bearer ya29.x' };
    expect(await ask(of('rawPredict'), {}, right)).toMatchObject({
      status: 401,
      body: { error: { code: 401, status: 'UNAUTHENTICATED' } },
    });
    expect((await ask(of('rawPredict'), headers, right)).status).toBe(200);
    expect((await ask(of('predict'), headers, right)).body).toMatchObject({ error: { status: 'NOT_FOUND' } });
    const told = async (method: string, body: object) =>
      ((await ask(of(method), headers, body)).body as { error: { message: string } }).error.message;
    expect(await told('rawPredict', { ...right, model })).toBe('model: Extra inputs are not permitted');
    expect(await told('rawPredict', { max_tokens: 5, messages })).toBe('anthropic_version: Field required');
    expect(await told('streamRawPredict', right)).toBe('stream: not allowed with streamRawPredict');
  });

  test('at Foundry', async () => {
    expect((await ask('https://r.services.ai.azure.com/anthropic/v1/messages', {})).status).toBe(401);
    expect((await ask('https://r.services.ai.azure.com/v1/messages', { 'x-api-key': 'k' })).status).toBe(404);
  });
});
