/** The example that measures a classifier, and the chain of a small and a large model: what they cost, beside the ledger. */

import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { putClassifier } from '../../src/classification/classifiers.schema.ts';
import { evaluateRequest } from '../../src/classification/evaluation.schema.ts';
import { type Client, createClient } from '../../src/client/index.ts';
import { type Edge, startSimulatingEdge } from '../support/edge.ts';
import { blocksOf, readGuide, sectionIn } from '../support/guides.ts';

const EXAMPLE = new URL('../../examples/difficulty/', import.meta.url);
const LABELS = ['easy', 'hard'];
const read = async (file: string) => await readFile(new URL(file, EXAMPLE), 'utf8');

let edge: Edge;
let client: Client;

beforeAll(async () => {
  edge = await startSimulatingEdge({ SIMULATOR_TTFT_MS: '0', SIMULATOR_TOKENS_PER_SECOND: '0' });
  client = createClient({ baseURL: edge.url });
});
afterAll(async () => await edge.stop());

/** @returns what the ledger says that something has cost, in nanodollars, and how many rows it has written */
async function spentBy(work: () => Promise<void>): Promise<{ nanodollars: number; requests: number }> {
  const sums = async () => (await client.usage({ account: 'dev' })).total;
  const before = await sums();
  await work();
  const after = await sums();
  const nanodollars = Math.round(after.cost_usd * 1e9) - Math.round(before.cost_usd * 1e9);
  return { nanodollars, requests: after.requests - before.requests };
}

describe('the questions', () => {
  test('are 200 that the route takes, each once, of topics that have easy and hard ones', async () => {
    const lines = (await read('questions.jsonl')).trimEnd().split('\n');
    const questions = lines.map((line) => JSON.parse(line) as Record<'label' | 'topic' | 'input', string>);
    expect(questions.map((one) => Object.keys(one))).toEqual(lines.map(() => ['label', 'topic', 'input']));
    const examples = questions.map(({ label, input }) => ({ label, input }));
    expect(evaluateRequest.parse({ examples }).examples).toHaveLength(200);
    expect(new Set(questions.map(({ input }) => input.trim().toLowerCase())).size).toBe(200);
    // Who labels by the topic alone is wrong, and the guide names how many there are of each.
    const labels = Map.groupBy(questions, ({ label }) => label);
    expect([...labels].map(([label, { length }]) => [label, length]).toSorted()).toEqual([
      ['easy', 120],
      ['hard', 80],
    ]);
    const topics = Map.groupBy(questions, ({ topic }) => topic);
    expect(topics.size).toBe(13);
    for (const [topic, ones] of topics) {
      expect([...new Set(ones.map(({ label }) => label))].toSorted(), topic).toEqual(LABELS);
    }
    // Nor does the length tell it, or the words easy and hard.
    const lengths = (label: string) => (labels.get(label) ?? []).map(({ input }) => input.length);
    expect(Math.max(...lengths('easy'))).toBeGreaterThan(Math.min(...lengths('hard')));
    expect(questions.some(({ label, input }) => label === 'easy' && /\bhard\b/.test(input))).toBe(true);
    expect(questions.some(({ label, input }) => label === 'hard' && /\beasy\b/.test(input))).toBe(true);
  });

  test('are for a classifier that can be stored, with a label for each', async () => {
    const { labels } = putClassifier.write.parse(JSON.parse(await read('classifier.json')));
    expect(labels?.map((label) => (typeof label === 'string' ? label : label.name))).toEqual(LABELS);
  });
});
