import { abortAllDurableObjects } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { createSkyEdge, requestEdge } from '#test/support/agents.ts';
import { createClassifyCaller, inputTextOf, LABELS, labelMessage } from '#test/support/classification.ts';
import { answerTools, weatherTool } from '#test/support/scripted-runs.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';

test('enforces max_requests of a token across restarts, and counts a run of two steps once', async () => {
  const { app } = await createSkyEdge({ model: 'claude-opus-5-5', max_tokens: 64, tools: [weatherTool()] });
  answerTools(() => Response.json('Sunny.'));
  const page = bearerHeader(await createToken('bob', ['messages'], { only: { agents: ['sky'], max_requests: 3 } }));
  const say = async (key: string, headers = page) =>
    await requestEdge(
      app,
      'POST',
      '/v1/messages',
      { ...headers, 'idempotency-key': key },
      { agent: 'sky', conversation: `c${key}`, messages: [{ role: 'user', content: 'Is it sunny?' }] },
    );
  for (const key of ['1', '2', '2', '1']) expect((await say(key)).status).toBe(200);
  await app.waitUntilSettled();
  await abortAllDurableObjects();
  expect((await say('3')).status).toBe(200);
  await app.waitUntilSettled();
  for (const key of ['4', '5']) {
    const { status, body } = await say(key);
    expect([status, JSON.stringify(body)]).toEqual([403, expect.stringContaining('reached its limit of 3 requests')]);
  }
  // What it has asked for can still be heard again.
  expect((await say('3')).status).toBe(200);
  const other = bearerHeader(await createToken('bob', ['messages'], { only: { agents: ['sky'], max_requests: 1 } }));
  expect((await say('6', other)).status).toBe(200);
});

test('counts a classification once towards max_requests, regardless of votes, inputs, retries and concurrency', async () => {
  const most = 3;
  // The first answer to each text is of no use, so it is asked for once more.
  const seen = new Set<string>();
  const {
    app,
    account,
    getObject: object,
  } = await createClassifyCaller(({ text }) => {
    const input = inputTextOf({ text });
    if (!input.startsWith('odd') || seen.has(input)) return labelMessage('bug');
    seen.add(input);
    return labelMessage('nothing');
  });
  const root = bearerHeader(await createToken('root', ['admin']));
  const stored = { labels: LABELS, votes: 5, cache_seconds: 0 };
  expect((await requestEdge(app, 'PUT', '/classifiers/tickets', root, stored)).status).toBe(200);
  const bound = { only: { classifiers: ['tickets'], max_requests: most } };
  const page = bearerHeader(await createToken(account, ['classify'], bound));
  const send = async (...inputs: string[]) =>
    await requestEdge(app, 'POST', '/classify', page, {
      classifier: 'tickets',
      inputs: inputs.map((input) => ({ id: input.replaceAll(/\W/g, '-'), input })),
    });
  const first = await send('It crashes', 'odd one');
  expect([first.status, JSON.stringify(first.body)]).toEqual([200, expect.not.stringContaining('max_requests')]);
  await app.waitUntilSettled();
  await abortAllDurableObjects();
  const rest = await Promise.all(Array.from({ length: most + 2 }, (_, n) => send(`Nr. ${n}`, `odd ${n}`)));
  const told = rest.map(({ body }) => JSON.stringify(body).split('reached its limit of 3 requests').length - 1);
  // Whoever was admitted got all of its answers, and whoever was not got none.
  expect(told.toSorted()).toEqual([0, 0, 2, 2, 2]);
  await app.waitUntilSettled();
  const { data } = await object().listRequests({ limit: 1_000 });
  expect(new Set(data.map(({ request_id }) => request_id.split('.')[0])).size).toBe(most);
  expect(data.length).toBeGreaterThan(most * 10);
});
