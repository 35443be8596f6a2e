import { describe, expect, test } from 'vitest';
import { parseSettings } from '#edge/config/settings.ts';
import { createTestApp, readError } from '#test/support/app.ts';
import { textMessage } from '#test/support/classification.ts';
import { answerByScript, textAnswer } from '#test/support/scripted-runs.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';

const DEFAULTS = { model: 'claude-haiku-5-5', max_tokens: 50, system: 'Be brief.' };
const hi = { messages: [{ role: 'user', content: 'Hi' }], stream: false };

/** An edge with these defaults. Messages reach its upstream, turns of conversations a script. */
async function edgeWith(defaults?: object) {
  const vars = defaults ? { MESSAGE_DEFAULTS: JSON.stringify(defaults) } : {};
  const app = createTestApp(
    ({ url }) => Response.json(url.pathname.endsWith('/count_tokens') ? { input_tokens: 50 } : textMessage('Hello.')),
    { ...DEPLOYED_VARS, ...vars },
  );
  const turns = answerByScript(() => textAnswer('Hello.'));
  const headers = bearerHeader(await createToken(`defaults-${crypto.randomUUID()}`, ['messages', 'prefixes']));
  const post = async (path: string, body: object) => await app.post(path, body, headers);
  const put = async (path: string, body: object) => {
    const init = { method: 'PUT', headers: { ...headers, 'content-type': 'application/json' } };
    const response = await app.fetch(path, { ...init, body: JSON.stringify(body) });
    expect(response.status, await response.clone().text()).toBe(200);
  };
  /** @returns what the upstream was sent for a request that it has answered */
  const sentFor = async (path: string, body: object): Promise<object | undefined> => {
    const response = await post(path, body);
    expect(response.status, await response.text()).toBe(200);
    return 'conversation' in body ? turns.at(-1) : (JSON.parse(app.sent.at(-1)?.text ?? '{}') as object);
  };
  return { app, post, put, sentFor };
}

describe('MESSAGE_DEFAULTS', () => {
  test.each(['{"agent":"support","model":"m"}', '{"max_tokens":0}', '{"temperature":1}', '{}', 'claude-haiku-5-5'])(
    '%s is rejected at the start',
    (MESSAGE_DEFAULTS) => {
      expect(() => parseSettings({ MESSAGE_DEFAULTS })).toThrow('MESSAGE_DEFAULTS');
    },
  );

  test('fills in the fields that a message omits, and never overrides the fields of a message', async () => {
    const { sentFor } = await edgeWith(DEFAULTS);
    expect(await sentFor('/messages', hi)).toMatchObject(DEFAULTS);
    const own = { model: 'claude-sonnet-5-5', max_tokens: 9, system: 'Shout.' };
    expect(await sentFor('/messages', { ...hi, ...own })).toMatchObject(own);
    const { messages } = hi;
    expect(await sentFor('/count-tokens', { messages })).toEqual({
      messages,
      model: DEFAULTS.model,
      system: DEFAULTS.system,
    });
  });

  test('does not apply to the routes of Anthropic', async () => {
    const { post, app } = await edgeWith(DEFAULTS);
    for (const [path, more] of [
      ['/v1/messages', {}],
      ['/v1/messages', { conversation: 'c1' }],
      ['/v1/messages/count_tokens', {}],
    ] as const) {
      const rejected = await post(path, { ...hi, ...more });
      expect([rejected.status, (await readError(rejected)).message], path).toEqual([
        400,
        expect.stringContaining('model: Field required'),
      ]);
    }
    expect(app.sent).toEqual([]);
  });

  test('does not override the model and system of a prefix, but fills in max_tokens', async () => {
    const { put, sentFor } = await edgeWith(DEFAULTS);
    await put('/prefixes/long', { system: 'Sing.', model: 'claude-sonnet-5-5' });
    expect(await sentFor('/messages', { ...hi, prefix: 'long' })).toMatchObject({
      model: 'claude-sonnet-5-5',
      max_tokens: 50,
      system: [{ text: 'Sing.' }],
    });
  });

  test('is stored by a new conversation', async () => {
    const { sentFor } = await edgeWith(DEFAULTS);
    expect(await sentFor('/messages', { ...hi, conversation: 'c1' })).toMatchObject(DEFAULTS);
    // Anthropic's route has no defaults: these are the conversation's.
    expect(await sentFor('/v1/messages', { ...hi, conversation: 'c1' })).toMatchObject(DEFAULTS);
  });

  test('is stored by a conversation that is created without a model', async () => {
    const { post, sentFor } = await edgeWith(DEFAULTS);
    const created = await post('/conversations', { id: 'made', system: 'Sing.' });
    expect(created.status).toBe(201);
    expect(await sentFor('/v1/messages', { ...hi, conversation: 'made' })).toMatchObject({
      model: DEFAULTS.model,
      max_tokens: 50,
      system: 'Sing.',
    });
  });

  test('names an agent for messages that name neither an agent, a prefix nor a model', async () => {
    const { put, sentFor } = await edgeWith({ agent: 'support' });
    const agent = { model: 'claude-sonnet-5-5', max_tokens: 70, system: 'Help.' };
    await put('/agents/support', agent);
    for (const more of [{}, { conversation: 'c2' }, { conversation: 'c2' }]) {
      expect(await sentFor('/messages', { ...hi, ...more })).toMatchObject({ model: agent.model, max_tokens: 70 });
    }
    const own = { model: 'claude-haiku-5-5', max_tokens: 9 };
    for (const more of [{}, { conversation: 'c3' }]) {
      expect(await sentFor('/messages', { ...hi, ...own, ...more })).toMatchObject(own);
    }
  });

  test('does not apply to the items of a batch', async () => {
    const { post, app } = await edgeWith(DEFAULTS);
    const { stream: _, ...params } = hi;
    const rejected = await post('/v1/messages/batches', { requests: [{ custom_id: 'one', params }] });
    expect([rejected.status, (await readError(rejected)).message]).toEqual([
      400,
      expect.stringContaining('model: Field required'),
    ]);
    expect(app.sent).toEqual([]);
  });

  test('does not apply to a restricted token', async () => {
    const { app } = await edgeWith(DEFAULTS);
    const restricted = bearerHeader(await createToken('restricted', ['messages'], { only: { agents: ['support'] } }));
    expect((await app.post('/messages', hi, restricted)).status).toBeGreaterThanOrEqual(400);
    expect(app.sent).toEqual([]);
  });

  test('is suggested, with an agent and a model, by the error for a message without a model', async () => {
    const { post, app } = await edgeWith();
    for (const more of [{}, { conversation: 'c4' }]) {
      const rejected = await post('/messages', { ...hi, max_tokens: 9, ...more });
      expect(rejected.status).toBe(400);
      const { message } = await readError(rejected);
      for (const words of ['agent', 'MESSAGE_DEFAULTS', 'claude-haiku-']) expect(message).toContain(words);
    }
    expect(app.sent).toEqual([]);
  });
});
