/** The budgets that the first app and the guide for React give: with them so many questions are answered, and then words are true. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient, SluiceError } from '../../src/client/index.ts';
import { drawing } from '../support/draw.ts';
import { type Edge, startSimulatingEdge } from '../support/edge.ts';
import { readGuide } from '../support/guides.ts';
import { root } from '../support/root.ts';
import { SECRET, tokenOf } from '../support/tokens.ts';

const app = await readFile(join(root, 'examples/first-app/server.mjs'), 'utf8');
const guide = await readGuide('react');
const QUESTIONS = [
  'Hello',
  'And then?',
  'Where shall I go in May?',
  'What is the weather there, and what should I take with me for a week?',
  'Thank you',
  'Tell me more about it, please',
];

let edge: Edge;
beforeAll(async () => {
  edge = await startSimulatingEdge({
    SIGNING_SECRET: SECRET,
    SIMULATOR_TTFT_MS: '0',
    SIMULATOR_TOKENS_PER_SECOND: '0',
  });
});
afterAll(async () => await edge.stop());

test.each([
  ['the first app', /'\/agents\/chat', (\{.*?\})\)/.exec(app)?.[1], /bob: ([\d.]+)/.exec(app)?.[1]],
  ['the guide for React', /-d '(\{"model".*?\})'/.exec(guide)?.[1], /"usd_per_day": ([\d.]+)/.exec(guide)?.[1]],
])('with the budget of %s each of twenty accounts has four to six answers', async (name, agent = '', usd) => {
  const sluice = createClient({ baseURL: edge.url });
  const put = async (path: string, body: string) =>
    expect((await sluice.fetch(path, { method: 'PUT', body })).status).toBe(200);
  await put('/agents/chat', agent.replace(/([{,] ?)(\w+):/g, '$1"$2":').replaceAll("'", '"'));
  const draw = drawing(84);
  const counts: number[] = [];
  for (let nth = 0; nth < 20; nth += 1) {
    const account = `${name.replaceAll(' ', '-')}-${nth}`;
    await put(`/accounts/${account}/limits`, JSON.stringify({ usd_per_day: Number(usd) }));
    const own = createClient({ baseURL: edge.url, token: await tokenOf(account) });
    let answers = 0;
    let thrown: unknown;
    for (; thrown === undefined && answers < 20; answers += thrown === undefined ? 1 : 0) {
      const messages = [{ role: 'user' as const, content: QUESTIONS[draw(QUESTIONS.length)] ?? '' }];
      const stream = own.messages.stream({ agent: 'chat', conversation: `web-${nth}`, messages });
      thrown = await stream.text().then(
        () => undefined,
        (error: unknown) => error,
      );
    }
    expect(thrown).toBeInstanceOf(SluiceError);
    expect(thrown).toMatchObject({ type: 'billing_error' });
    counts.push(answers);
  }
  expect(counts.filter((count) => count < 4 || count > 6)).toEqual([]);
});
