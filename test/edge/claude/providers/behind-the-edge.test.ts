/** Each kind behind the whole edge: what goes up is judged, and answered, as its service does. */

import { expect, test } from 'vitest';
import { MODELS } from '#edge/claude/models/models.ts';
import { toSimulatedModels } from '#edge/claude/simulated-models.ts';
import { createSimulator } from '#simulator/simulator.ts';
import { createTestApp } from '#test/support/app.ts';
import { answerAsService } from '#test/support/cloud-services.ts';

const SIGNING = 'AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';

async function serviceAccount(): Promise<string> {
  const algorithm = { name: 'RSASSA-PKCS1-v1_5', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) };
  const pair = (await crypto.subtle.generateKey({ ...algorithm, hash: 'SHA-256' }, true, ['sign'])) as CryptoKeyPair;
  const bytes = new Uint8Array((await crypto.subtle.exportKey('pkcs8', pair.privateKey)) as ArrayBuffer);
  return JSON.stringify({
    client_email: 'edge@my-project.iam.gserviceaccount.com',
    private_key: `-----BEGIN PRIVATE KEY-----\n${bytes.toBase64()}\n-----END PRIVATE KEY-----\n`,
    token_uri: 'https://oauth2.googleapis.com/token',
  });
}

const KINDS: [string, Record<string, unknown>, () => string | Promise<string>][] = [
  ['anthropic', { kind: 'anthropic' }, () => 'sk-ant-x'],
  ['aws', { kind: 'aws', region: 'us-west-2', workspace: 'wrkspc_1' }, () => 'key'],
  ['aws, signed', { kind: 'aws', region: 'us-west-2', workspace: 'wrkspc_1' }, () => SIGNING],
  ['bedrock', { kind: 'bedrock', region: 'us-east-1' }, () => 'key'],
  ['bedrock, signed', { kind: 'bedrock', region: 'us-east-1' }, () => `${SIGNING}:c2Vzc2lvbg==`],
  ['vertex', { kind: 'vertex', project: 'p', region: 'europe-west1' }, serviceAccount],
  ['foundry', { kind: 'foundry', resource: 'my-resource' }, () => 'azure-key'],
];

test.each(KINDS)(
  'sends messages, streams and token counts to an upstream of the kind %s',
  async (_, fields, secret) => {
    const simulate = createSimulator({ models: toSimulatedModels(MODELS) });
    let tokens = 0;
    const app = createTestApp(
      async ({ method, url, headers, body }) => {
        if (url.hostname !== 'oauth2.googleapis.com') {
          const request = new Request(url, { method, headers, ...(body.length > 0 && { body }) });
          return await answerAsService(request, simulate);
        }
        tokens += 1;
        return Response.json({ access_token: 'ya29.x', expires_in: 3_599, token_type: 'Bearer' });
      },
      {
        UPSTREAMS: JSON.stringify([{ name: 'one', ...fields }]),
        UPSTREAM_ONE_KEY: await secret(),
        UPSTREAM_MAX_RETRIES: '0',
        ANTHROPIC_API_KEY: 'sk-ant-of-nobody',
      },
    );
    const model = 'claude-haiku-4-5';
    const messages = [{ role: 'user', content: 'Hello' }];
    const told = async (path: string, body: object, headers: Record<string, string> = {}) => {
      const answer = await app.post(path, { model, max_tokens: 20, messages, ...body }, headers);
      const text = await answer.text();
      expect([path, answer.status, text]).toEqual([path, 200, expect.any(String)]);
      return text;
    };
    const read = (text: string) => JSON.parse(text) as Record<string, unknown>;

    expect(read(await told('/v1/messages', {}))).toMatchObject({ type: 'message', stop_reason: 'max_tokens' });
    expect(await told('/v1/messages', { stream: true })).toMatch(/event: message_stop\n.*\n\n/);
    expect(await told('/messages?beta=true', {}, { 'anthropic-beta': 'skills-2025-10-02' })).toContain(
      'event: message_stop',
    );
    const count = await app.post('/v1/messages/count_tokens', { model, messages });
    expect(read(await count.text())).toMatchObject({ input_tokens: expect.any(Number) });
    // Long enough to go up as a stream, which is made anew for its signature. Something is changed in it as well.
    const long = [{ role: 'user', content: 'word '.repeat(300_000) }];
    const answer = read(await told('/v1/messages', { messages: long, model: 'claude-haiku-5-5' }));
    expect(answer).toMatchObject({ usage: { input_tokens: expect.any(Number) } });
    expect(JSON.stringify(answer)).not.toContain('~string:');
    expect(tokens).toBe(fields.kind === 'vertex' ? 1 : 0);
    for (const { url, headers } of app.sent) {
      expect(url.href + JSON.stringify([...headers])).not.toMatch(/of-nobody|wJalrXUtn|PRIVATE/);
    }
    await app.waitUntilSettled();
  },
);
