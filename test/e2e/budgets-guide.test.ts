/** The budgets that the first app and the guides give: with them so many questions are answered. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient, SluiceError } from '#client/index.ts';
import { createDraw } from '#test/support/create-draw.ts';
import { type Edge, startSimulatingEdge } from '#test/support/edge.ts';
import { readGuide } from '#test/support/guides.ts';
import { root } from '#test/support/root.ts';
import { createToken, SECRET } from '#test/support/tokens.ts';

const app = await readFile(join(root, 'examples/first-app/server.mjs'), 'utf8');
const guide = await readGuide('react');
const budgets = await readGuide('budgets');
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

async function put(path: string, body: string): Promise<void> {
  const { status } = await createClient({ baseURL: edge.url }).fetch(path, { method: 'PUT', body });
  expect(status).toBe(200);
}

test.each([
  ['the first app', /'\/agents\/chat', (\{.*?\})\)/.exec(app)?.[1], /bob: ([\d.]+)/.exec(app)?.[1]],
  ['the guide for React', /-d '(\{"model".*?\})'/.exec(guide)?.[1], /"usd_per_day": ([\d.]+)/.exec(guide)?.[1]],
])('the budget of %s pays for four to eight responses for each of twenty accounts', async (name, agent = '', usd) => {
  await put('/agents/chat', agent.replace(/([{,] ?)(\w+):/g, '$1"$2":').replaceAll("'", '"'));
  const draw = createDraw(84);
  const counts: number[] = [];
  for (let nth = 0; nth < 20; nth += 1) {
    const account = `${name.replaceAll(' ', '-')}-${nth}`;
    await put(`/accounts/${account}/limits`, JSON.stringify({ usd_per_day: Number(usd) }));
    const own = createClient({ baseURL: edge.url, token: await createToken(account) });
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
  expect(counts.filter((count) => count < 4 || count > 8)).toEqual([]);
});

test('the table lists the smallest limit that pays for the stated number of responses for each of four accounts', async () => {
  const MODELS = ['claude-haiku-5-5', 'claude-sonnet-5-5', 'claude-opus-5-5'];
  const COUNTS = [5, 20];
  /** Questions of one conversation. */
  const TOGETHER = 5;
  const rows: string[][] = [];
  for (const model of MODELS) {
    const needed = COUNTS.map(() => 0);
    await Promise.all(
      [1, 2, 3, 4].map(async (seed) => {
        const draw = createDraw(seed);
        const account = `${model}-${seed}`;
        // Nobody reads from the cache what another account wrote: accounts with the same words would depend on who is first.
        const system = `You answer for Acme ${seed}, in one sentence.`;
        await put(`/agents/${account}`, JSON.stringify({ model, max_tokens: 2_048, system }));
        // So large a limit lowers nothing, and says what is held.
        await put(`/accounts/${account}/limits`, JSON.stringify({ usd_per_day: 1_000 }));
        const own = createClient({ baseURL: edge.url, token: await createToken(account) });
        let spent = 0;
        for (let asked = 1; asked <= (COUNTS.at(-1) ?? 0); asked += 1) {
          const messages = [{ role: 'user' as const, content: QUESTIONS[draw(QUESTIONS.length)] ?? '' }];
          const conversation = `web-${Math.floor((asked - 1) / TOGETHER)}`;
          const stream = own.messages.stream({ agent: account, conversation, messages });
          await stream.text();
          const { data } = await own.requests({ limit: 1 });
          const needs = spent + (data[0]?.hold_usd ?? Number.NaN);
          for (const [at, count] of COUNTS.entries()) if (asked <= count) needed[at] = Math.max(needed[at] ?? 0, needs);
          spent += stream.costUsd ?? Number.NaN;
        }
      }),
    );
    rows.push([model, ...needed.map(roundedUp)]);
  }
  const shown = [...budgets.matchAll(/^\| `(claude-\w+-5-5)` +\| (\$[\d.]+) +\| (\$[\d.]+) +\|$/gm)];
  expect(shown.map(([, ...cells]) => cells)).toEqual(rows);
});

/** @returns an amount with two digits, never less than it is */
function roundedUp(usd: number): string {
  const step = 10 ** (Math.floor(Math.log10(usd)) - 1);
  return `$${Number((Math.ceil(usd / step - 1e-9) * step).toPrecision(2))}`;
}
