import { abortAllDurableObjects } from 'cloudflare:test';
import { describe, expect, test } from 'vitest';
import { createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { installSimulator } from '#test/support/conversations.ts';

const LIMIT = 6_000;
const MODEL = 'claude-opus-5-5';

const say = (app: TestApp, conversation: string, content: string, more: object = {}) =>
  app.post('/v1/messages', {
    model: MODEL,
    max_tokens: 20,
    messages: [{ role: 'user', content }],
    conversation,
    ...more,
  });

/** A conversation of which the history fills the limit, turn by turn, until another message no longer fits. */
async function outgrown(first: object = {}): Promise<{ app: TestApp; refused: Response }> {
  installSimulator({ MAX_BODY_BYTES: String(LIMIT) });
  const app = createTestApp(() => Response.json({}), { UPSTREAM: 'simulator', MAX_BODY_BYTES: String(LIMIT) });
  for (let turn = 0; turn < 20; turn += 1) {
    const response = await say(app, 'long', `${turn} ${'x'.repeat(900)}`, turn === 0 ? first : {});
    if (response.status !== 200) return { app, refused: response };
    await response.text();
  }
  throw new Error('it never became too long');
}

const json = (body: unknown, method = 'POST') => ({
  method,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

/** The ids of the messages of a conversation that its user wrote. */
async function idsOf(app: TestApp): Promise<string[]> {
  const response = await app.fetch('/conversations/long/messages?limit=100');
  const { data } = await response.json<{ data: { id: string; role: string }[] }>();
  return data.filter(({ role }) => role === 'user').map(({ id }) => id);
}

describe('a history that exceeds the body limit', () => {
  test.each([
    ['alone', {}],
    ['with a prefix', { prefix: 'p' }],
  ])('returns a 413 that suggests rewind, fork or truncation, not a smaller body (%s)', async (_, first) => {
    if ('prefix' in first) {
      installSimulator();
      const app = createTestApp(() => Response.json({}), { UPSTREAM: 'simulator' });
      const put = await app.fetch('/prefixes/p', json({ system: 'y'.repeat(500), model: MODEL }, 'PUT'));
      expect(put.status).toBe(200);
    }
    const { app, refused } = await outgrown(first);
    expect(refused.status).toBe(413);
    const { type, message } = await readError(refused);
    expect(type).toBe('request_too_large');
    expect(message).toContain(`larger than the ${LIMIT} bytes`);
    for (const cure of ['/rewind', '/fork', 'history']) expect(message).toContain(cure);
    expect(message).not.toContain('smaller');
    // Even the smallest message is told the same, and so is a count.
    for (const path of ['/v1/messages', '/count-tokens']) {
      const again = await app.post(path, {
        model: MODEL,
        max_tokens: 1,
        conversation: 'long',
        messages: [{ role: 'user', content: 'x'.repeat(900) }],
      });
      expect([again.status, (await readError(again)).message]).toEqual([413, message]);
    }
    // A limit that was lowered since then is met in the middle of the history.
    installSimulator({ MAX_BODY_BYTES: '2000' });
    await abortAllDurableObjects();
    const lowered = await readError(await say(app, 'long', 'Hi'));
    expect(lowered.message).toBe(message.replace(String(LIMIT), '2000'));
  });

  test.each([
    [
      'rewinding',
      async (app: TestApp) => {
        const [, , third = ''] = await idsOf(app);
        return await app.fetch('/conversations/long/rewind', json({ before: third }));
      },
      'long',
    ],
    [
      'forking at an earlier message',
      async (app: TestApp) => {
        const [, , third = ''] = await idsOf(app);
        return await app.fetch('/conversations/long/fork', json({ at: third, id: 'shorter' }));
      },
      'shorter',
    ],
    [
      'leaving out the oldest turns',
      async (app: TestApp) => {
        const history = { max_tokens: 1_000, strategy: 'truncate' };
        return await app.fetch('/conversations/long', json({ history }, 'PATCH'));
      },
      'long',
    ],
  ])('accepts the next message after %s', async (_, cure, conversation) => {
    const { app, refused } = await outgrown();
    await refused.text();
    expect((await cure(app)).ok).toBe(true);
    const response = await say(app, conversation, 'y'.repeat(900));
    expect(response.status, await response.text()).toBe(200);
    await app.waitUntilSettled();
  });

  test('is not blamed in the error if the system prompt and the first message exceed the limit', async () => {
    installSimulator({ MAX_BODY_BYTES: String(LIMIT) });
    const app = createTestApp(() => Response.json({}), { UPSTREAM: 'simulator', MAX_BODY_BYTES: String(LIMIT) });
    const system = 's'.repeat(LIMIT - 300);
    expect((await app.fetch('/conversations', json({ id: 'long', system, model: MODEL }))).status).toBe(201);
    const response = await say(app, 'long', 'x'.repeat(900));
    expect(response.status).toBe(413);
    expect((await readError(response)).message).toContain('Send a smaller body');
  });
});
