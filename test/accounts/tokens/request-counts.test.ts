import { abortAllDurableObjects } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { ask, edgeWithSky } from '../../support/agents.ts';
import { servingTools, weather } from '../../support/scripted-runs.ts';
import { bearer, tokenOf } from '../../support/tokens.ts';

test('a token makes as many requests as it may, whatever wakes its account, and a run of two steps counts once', async () => {
  const { app } = await edgeWithSky({ ...{ model: 'claude-opus-5-5', max_tokens: 64 }, tools: [weather()] });
  servingTools(() => Response.json('Sunny.'));
  const page = bearer(await tokenOf('bob', ['messages'], { only: { agents: ['sky'], max_requests: 3 } }));
  const say = async (key: string, headers = page) =>
    await ask(
      app,
      'POST',
      '/v1/messages',
      { ...headers, 'idempotency-key': key },
      { agent: 'sky', conversation: `c${key}`, messages: [{ role: 'user', content: 'Is it sunny?' }] },
    );
  for (const key of ['1', '2', '2', '1']) expect((await say(key)).status).toBe(200);
  await app.settled();
  await abortAllDurableObjects();
  expect((await say('3')).status).toBe(200);
  await app.settled();
  for (const key of ['4', '5']) {
    const { status, body } = await say(key);
    expect([status, JSON.stringify(body)]).toEqual([403, expect.stringContaining('has made 3 requests')]);
  }
  // What it has asked for can still be heard again.
  expect((await say('3')).status).toBe(200);
  const other = bearer(await tokenOf('bob', ['messages'], { only: { agents: ['sky'], max_requests: 1 } }));
  expect((await say('6', other)).status).toBe(200);
});
