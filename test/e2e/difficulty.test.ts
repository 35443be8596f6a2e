import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { evaluateRequest } from '#edge/plugins/evaluation/evaluation.schema.ts';

const EXAMPLE = new URL('../../examples/difficulty/', import.meta.url);
const read = async (file: string) => await readFile(new URL(file, EXAMPLE), 'utf8');

test('questions.jsonl has 200 distinct valid questions, on topics with easy and hard ones', async () => {
  const lines = (await read('questions.jsonl')).trimEnd().split('\n');
  const questions = lines.map((line) => JSON.parse(line) as Record<'label' | 'topic' | 'input', string>);
  expect(questions.map((one) => Object.keys(one))).toEqual(lines.map(() => ['label', 'topic', 'input']));
  const examples = questions.map(({ label, input }) => ({ label, input }));
  expect(evaluateRequest.parse({ examples }).examples).toHaveLength(200);
  expect(new Set(questions.map(({ input }) => input.trim().toLowerCase())).size).toBe(200);
  const { labels } = JSON.parse(await read('classifier.json')) as { labels: { name: string }[] };
  expect(labels.map(({ name }) => name)).toEqual(['easy', 'hard']);
  const of = (label: string) => questions.filter((one) => one.label === label);
  expect(labels.map(({ name }) => of(name).length)).toEqual([120, 80]);
  // Neither the topic tells the label, nor the length, nor the words themselves.
  const topics = (label: string) => [...new Set(of(label).map(({ topic }) => topic))].toSorted();
  expect(topics('easy')).toHaveLength(13);
  expect(topics('hard')).toEqual(topics('easy'));
  const lengths = (label: string) => of(label).map(({ input }) => input.length);
  expect(Math.max(...lengths('easy'))).toBeGreaterThan(Math.min(...lengths('hard')));
  expect(of('easy').some(({ input }) => /\bhard\b/.test(input))).toBe(true);
  expect(of('hard').some(({ input }) => /\beasy\b/.test(input))).toBe(true);
});
