import { describe, expect, test } from 'vitest';
import { parseSettings } from '../../../../src/edge/gate/settings/settings.ts';
import { errorOf, testApp } from '../../../support/app.ts';
import { said } from '../../../support/classification.ts';
import { bearer, DEPLOYED, tokenOf } from '../../../support/tokens.ts';

const DEFAULTS = { model: 'claude-haiku-5-5', max_tokens: 50, system: 'Be brief.' };
const hi = { messages: [{ role: 'user', content: 'Hi' }], stream: false };

async function edgeWith(defaults?: object) {
  const vars = defaults ? { MESSAGE_DEFAULTS: JSON.stringify(defaults) } : {};
  const app = testApp(() => Response.json(said('Hello.')), { ...DEPLOYED, ...vars });
  const headers = bearer(await tokenOf(`defaults-${crypto.randomUUID()}`, ['messages', 'prefixes']));
  const post = (path: string, body: object) => app.post(path, body, headers);
  const put = (path: string, body: object) =>
    app.fetch(path, {
      method: 'PUT',
      headers: { ...headers, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  const sent = () => JSON.parse(app.sent.at(-1)?.text ?? '{}') as Record<string, unknown>;
  return { app, post, put, sent };
}

describe('MESSAGE_DEFAULTS', () => {
  test.each(['{"agent":"support","model":"m"}', '{"max_tokens":0}', '{"temperature":1}', '{}', 'claude-haiku-5-5'])(
    '%s is rejected at the start',
    (MESSAGE_DEFAULTS) => {
      expect(() => parseSettings({ MESSAGE_DEFAULTS })).toThrow('MESSAGE_DEFAULTS');
    },
  );

  test('gives a message what it lacks, and yields to what the message says', async () => {
    const { post, sent } = await edgeWith(DEFAULTS);
    expect((await post('/messages', hi)).status).toBe(200);
    expect(sent()).toMatchObject(DEFAULTS);
    const own = { model: 'claude-sonnet-5-5', max_tokens: 9, system: 'Shout.' };
    expect((await post('/messages', { ...hi, ...own })).status).toBe(200);
    expect(sent()).toMatchObject(own);
  });

  test('does not apply to the routes of Anthropic', async () => {
    const { post, app } = await edgeWith(DEFAULTS);
    const rejected = await post('/v1/messages', hi);
    expect([rejected.status, (await errorOf(rejected)).message]).toEqual([400, 'model: Field required']);
    expect((await post('/v1/messages', { ...hi, conversation: 'c1' })).status).toBe(400);
    expect(app.sent).toEqual([]);
  });

  test('yields to a prefix, which has its own system', async () => {
    const { post, put, sent } = await edgeWith(DEFAULTS);
    expect((await put('/prefixes/long', { system: 'Sing.', model: 'claude-sonnet-5-5' })).status).toBe(200);
    expect((await post('/messages', { ...hi, prefix: 'long' })).status).toBe(200);
    expect(sent()).toMatchObject({ model: 'claude-sonnet-5-5', max_tokens: 50, system: [{ text: 'Sing.' }] });
  });

  test('is stored by a new conversation, and gives an existing one only a model that it lacks', async () => {
    const { post, sent } = await edgeWith(DEFAULTS);
    expect((await post('/messages', { ...hi, conversation: 'c1' })).status).toBe(200);
    expect(sent()).toMatchObject(DEFAULTS);
    // Anthropic's route has no defaults: these are the conversation's.
    expect((await post('/v1/messages', { ...hi, conversation: 'c1' })).status).toBe(200);
    expect(sent()).toMatchObject(DEFAULTS);
  });

  test('names an agent for messages that name neither an agent, a prefix nor a model', async () => {
    const { post, put, sent } = await edgeWith({ agent: 'support' });
    const agent = { model: 'claude-sonnet-5-5', max_tokens: 70, system: 'Help.' };
    expect((await put('/agents/support', agent)).status).toBe(200);
    for (const more of [{}, { conversation: 'c2' }, { conversation: 'c2' }]) {
      expect((await post('/messages', { ...hi, ...more })).status).toBe(200);
      expect(sent()).toMatchObject({ model: agent.model, max_tokens: 70 });
    }
    expect((await post('/messages', { ...hi, model: 'claude-haiku-5-5', max_tokens: 9 })).status).toBe(200);
    expect(sent()).toMatchObject({ model: 'claude-haiku-5-5', max_tokens: 9 });
  });

  test('without it, a message without a model is told what to send and what can be set', async () => {
    const { post, app } = await edgeWith();
    for (const more of [{}, { conversation: 'c3' }]) {
      const rejected = await post('/messages', { ...hi, max_tokens: 9, ...more });
      expect(rejected.status).toBe(400);
      const { message } = await errorOf(rejected);
      for (const words of ['agent', 'MESSAGE_DEFAULTS', 'claude-haiku-']) expect(message).toContain(words);
    }
    expect(app.sent).toEqual([]);
  });
});
