/** The example that measures a classifier, and the chain of a small and a large model: what they cost, beside the ledger. */

import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Client, createClient } from '#client/index.ts';
import { type Edge, startSimulatingEdge } from '#test/support/edge.ts';
import { codeBlocksOf, readGuide, sectionOf } from '#test/support/guides.ts';
import { createToken, SECRET } from '#test/support/tokens.ts';

const EXAMPLE = new URL('../../examples/difficulty/', import.meta.url);

let edge: Edge;
let client: Client;

beforeAll(async () => {
  edge = await startSimulatingEdge({
    SIGNING_SECRET: SECRET,
    // Who has no budget left is told at once.
    HOLD_WAIT_MS: '0',
    SIMULATOR_TTFT_MS: '0',
    SIMULATOR_TOKENS_PER_SECOND: '0',
  });
  client = createClient({ baseURL: edge.url });
});
afterAll(async () => await edge.stop());

/** @returns what a piece of work has cost an account by its ledger, in nanodollars, and how many rows it has written */
async function spentBy<Result>(account: string, work: () => Promise<Result>) {
  const sums = async () => (await client.usage({ account })).total;
  const before = await sums();
  const result = await work();
  // An answer does not wait until it is settled.
  await expect
    .poll(async () => (await client.requests({ account, limit: 1_000 })).data.filter((row) => row.settled_at === null))
    .toEqual([]);
  const after = await sums();
  const nanodollars = Math.round(after.cost_usd * 1e9) - Math.round(before.cost_usd * 1e9);
  return { result, spent: { nanodollars, requests: after.requests - before.requests } };
}

describe('the difficulty script', () => {
  const script = fileURLToPath(new URL('evaluate.mjs', EXAMPLE));
  /** Runs it for the account `dev`, or for that of a token. Also what ends with an error is told. */
  async function run({ token, file = [] }: { token?: string; file?: string[] } = {}) {
    const env = { ...process.env, SLUICE_URL: edge.url, ...(token ? { SLUICE_TOKEN: token } : {}) };
    const ended = promisify(execFile)(process.execPath, [script, ...file], { env });
    type Ended = { code?: number; stdout: string; stderr: string };
    return await ended.then((told): Ended => told).catch((told: Ended) => told);
  }
  /** @returns what it has printed: nanodollars, the matrix, and how many lines name a question */
  const readingOf = (stdout: string) => ({
    nanodollars: Math.round(Number(/^Cost: \$([\d.]+)$/m.exec(stdout)?.[1]) * 1e9),
    right: /^Right: (\d+) of (\d+)/m.exec(stdout)?.slice(1).map(Number),
    matrix: [...stdout.matchAll(/│ (?:easy|hard) +│ (\d+) +│ (\d+) +│ (\d+) +│/g)].map((row) =>
      row.slice(1).map(Number),
    ),
    wrong: [...stdout.matchAll(/^line \d+ is (?:easy|hard), was given /gm)].length,
    notAsked: [...stdout.matchAll(/^line \d+ was not asked: /gm)].length,
  });

  test('prints costs and counts that agree with the ledger and each other, and reports that the simulator has responded', async () => {
    const { result, spent } = await spentBy('dev', () => run());
    const { stdout } = result;
    // biome-ignore lint/suspicious/noConsole: the figures are shown with --silent=false
    console.log(stdout.split('\nline ', 1)[0]);
    const { nanodollars, right, matrix, wrong, notAsked } = readingOf(stdout);
    expect({ nanodollars, requests: 200 }).toEqual(spent);
    const [easy = [], hard = []] = matrix;
    expect([easy, hard].map((row) => row.reduce((sum, count) => sum + count, 0))).toEqual([120, 80]);
    expect(right).toEqual([(easy[0] ?? 0) + (hard[1] ?? 0), 200]);
    expect([wrong, notAsked]).toEqual([200 - (right?.[0] ?? 0), 0]);
    expect(stdout).toContain('The simulator has answered');
  });

  test('reports the questions that an exhausted budget left out, and counts only the others', async () => {
    await client.fetch('/accounts/poor/limits', { method: 'PUT', body: { usd_per_day: 0.003 } });
    const token = await createToken('poor', ['classify', 'prefixes']);
    const { result, spent } = await spentBy('poor', () => run({ token }));
    const { nanodollars, right, notAsked } = readingOf(result.stdout);
    expect(result.code).toBe(1);
    expect(notAsked).toBeGreaterThan(100);
    expect({ nanodollars, requests: right?.[1] }).toEqual(spent);
    expect((right?.[1] ?? 0) + notAsked).toBe(200);
  });

  test('prints the results of the questions before a rejected batch, and why the batch was rejected', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sluice-questions-'));
    const file = join(folder, 'mine.jsonl');
    const lines = Array.from({ length: 60 }, (_, index) => ({
      label: index === 55 ? 'medium' : 'easy',
      input: `What is ${index} + 1?`,
    }));
    await writeFile(file, lines.map((line) => JSON.stringify(line)).join('\n'));
    const { result, spent } = await spentBy('dev', () => run({ file: [file] }));
    await rm(folder, { recursive: true });
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/It ends after 50 questions\. .*"medium\\" is not a label of/);
    const { nanodollars, right } = readingOf(result.stdout);
    expect({ nanodollars, requests: right?.[1] }).toEqual(spent);
    expect(right?.[1]).toBe(50);
  });
});

test('the chain and a single large model cost within five percent of the amounts in the guide for three lengths of handbooks', async () => {
  const section = sectionOf(await readGuide('cost'), 'A small model prepares, a large one writes');
  const [commands = ''] = codeBlocksOf(section, 'sh');
  const told = [...section.matchAll(/^\| (\d+) +\| ([\d,]+) +\| \$(\S+) +\| \$(\S+) +\| \$(\S+) +\| \$(\S+) +\|$/gm)];
  expect(told).toHaveLength(3);
  for (const [, rules = '', tokens = '', ...figures] of told) {
    const bash = commands.replaceAll('http://localhost:8787', edge.url).replace('range(600)', `range(${rules})`);
    const { result, spent } = await spentBy('dev', () => promisify(execFile)('bash', ['-c', bash]));
    // Each line is what one turn has cost: alone and as a chain, both anew, then both from the prompt cache.
    const costs = [...result.stdout.matchAll(/^adviser(?:-alone)?: ([\d.]+)$/gm)].map(([, usd]) => Number(usd));
    expect(costs.reduce((sum, usd) => sum + Math.round(usd * 1e9), 0)).toBe(spent.nanodollars);
    const { data } = await client.usage({ account: 'dev', group_by: 'agent' });
    const { version } = await client.agents.get('adviser-alone');
    const read = data.find(({ key }) => key === version)?.usage.cache_read_input_tokens;
    // biome-ignore lint/suspicious/noConsole: the figures are shown with --silent=false
    console.log(`${rules} rules, ${read} tokens: ${costs.map((usd) => `$${usd.toFixed(4)}`).join(', ')}`);
    // The simulator's sentences may change by a few words.
    const isNear = (shown: string, measured = 0) => Math.abs(Number(shown.replaceAll(',', '')) / measured - 1) < 0.05;
    expect(isNear(tokens, read), `${tokens} tokens, and measured: ${read}`).toBe(true);
    for (const [index, figure] of figures.entries()) {
      expect(isNear(figure, costs[index]), `${rules} rules: $${figure}, and measured: ${costs}`).toBe(true);
    }
  }
});
