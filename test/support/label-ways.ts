/** Has texts labelled by each way that there is, at the API whose models think. */

import { expect, onTestFinished, vi } from 'vitest';
import type { ClassifyAnswer } from '#edge/classify/classify-answers.schema.ts';
import { accountStub } from '#edge/durable/stubs.ts';
import { hmac } from '#edge/kit/delivery/hmac.ts';
import { defineWebhook } from '#edge/plugins/webhooks/sources/define-webhook.ts';
import guide from '../../docs/classification.md?raw';
import { edgeWithRouter, LEVELS, question } from './chosen-models.ts';
import { bindings, caller, LABELS } from './classification.ts';
import { jobEdge, paidBy } from './classification-jobs.ts';
import { thinkingApi, ticketOf } from './thinking-api.ts';
import { eventOf, inboxOf, worksOf } from './webhooks.ts';

/** Labels and what they have cost, by what the edge says; and what was held before. */
interface Labelled {
  labels: unknown[];
  usd: number;
  held?: number;
}
type Api = ReturnType<typeof thinkingApi>;
type Way = (api: Api, model: string, count: number) => Promise<Labelled>;

/** The most texts of one request, and the most events and questions at a time. */
const [AT_ONCE, BESIDE] = [256, 50];
const MOST_CALLS = 1.05;

const inputsOf = (count: number) =>
  Array.from({ length: count }, (_, n) => ({ id: String(n), input: ticketOf(n, LABELS) }));

/** @returns the numbers up to a count, in parts */
function partsOf(count: number, size: number): number[][] {
  const numbers = Array.from({ length: count }, (_, n) => n);
  return Array.from({ length: Math.ceil(count / size) }, (_, nth) => numbers.slice(nth * size, (nth + 1) * size));
}

async function byClassify({ fetch }: Api, model: string, count: number): Promise<Labelled> {
  const { ask } = await caller(async ({ url, method, text }) => await fetch(url.href, { method, body: text }));
  const labelled: Labelled = { labels: [], usd: 0 };
  const inputs = inputsOf(count);
  for (let from = 0; from < count; from += AT_ONCE) {
    const answer = await ask({ inputs: inputs.slice(from, from + AT_ONCE), labels: LABELS, model });
    const { results, cost_usd } = (await answer.json()) as { results: ClassifyAnswer[]; cost_usd: number };
    labelled.labels.push(...results.map(({ label }) => label));
    labelled.usd += cost_usd;
  }
  return labelled;
}

async function byBatch({ fetch, batches }: Api, model: string, count: number): Promise<Labelled> {
  const edge = jobEdge({}, fetch);
  const account = crypto.randomUUID();
  const begun = await edge.begin({ inputs: inputsOf(count), labels: LABELS, model }, account);
  const { held } = await paidBy(account);
  batches.end();
  const { rows, summary } = await edge.resultsOf(await edge.finish(begun, account), account);
  const labels = new Map(rows.map(({ id, label }) => [id, label]));
  return { labels: inputsOf(count).map(({ id }) => labels.get(id)), usd: summary.cost_usd, held: held / 1e9 };
}

async function byWebhook({ fetch }: Api, model: string, count: number): Promise<Labelled> {
  const told = new Map<string, { label?: unknown; cost_usd: number | null }>();
  const source = 'tickets';
  const tickets = defineWebhook({
    ...{ source, verify: hmac({ header: 'x' }), text: () => undefined, labels: LABELS, model, account: 'ada' },
    deliver: async (result) => {
      told.set(result.event_id, result);
    },
  });
  // These timers stay after what they limit, and an isolate may have ten thousand.
  const timers = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(new AbortController().signal);
  onTestFinished(() => timers.mockRestore());
  const works = worksOf({ webhooks: [tickets], fetch });
  const idOf = (n: number) => `${source}_${n}`;
  for (const part of partsOf(count, BESIDE)) {
    // An account that pays for webhooks may spend a dollar a day, until its operator says otherwise.
    for (const n of part) await inboxOf(source).accept(eventOf(idOf(n), ticketOf(n, LABELS), 'ada'));
    expect(await works.consume(part.map(idOf))).toEqual([]);
  }
  const results = partsOf(count, 1).map(([n = 0]) => told.get(idOf(n)));
  return {
    labels: results.map((result) => result?.label),
    usd: results.reduce((sum, result) => sum + (result?.cost_usd ?? Number.NaN), 0),
  };
}

async function byChoice({ answer }: Api, model: string, count: number): Promise<Labelled> {
  const { app, bob } = await edgeWithRouter({
    classifier: { model },
    label: (body) => Response.json(answer(body)),
  });
  const labels: unknown[] = [];
  for (let n = 0; n < count; n += 1) {
    const { chosen } = await question(app, bob, ticketOf(n, LEVELS), { conversation: `c${n}` });
    labels.push(/; why=label; label=(\w+)/.exec(chosen)?.[1]);
  }
  const account = accountStub(bindings, {}, 'bob');
  let usd = 0;
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page: { rows: { route: string; cost_usd: number | null }[]; next: string | null } =
      await account.exportRows(cursor);
    cursor = page.next;
    for (const { route, cost_usd } of page.rows) if (route === 'choice') usd += cost_usd ?? Number.NaN;
  }
  return { labels, usd };
}

const ALWAYS_THINKS = 'claude-opus-5-5';
const LABELLING_MODELS = [
  'claude-haiku-5-5',
  'claude-sonnet-5-5',
  ALWAYS_THINKS,
  'claude-opus-5',
  'claude-opus-4-8',
  'claude-sonnet-4-6',
  'claude-haiku-4-5',
];

interface LabelWay {
  by: Way;
  names: readonly string[];
  models: readonly string[];
}

/** An agent's choice does not wait for a model that always thinks. */
export const LABEL_WAYS = {
  classify: { by: byClassify, names: LABELS, models: LABELLING_MODELS },
  batch: { by: byBatch, names: LABELS, models: LABELLING_MODELS },
  webhook: { by: byWebhook, names: LABELS, models: LABELLING_MODELS },
  choice: { by: byChoice, names: LEVELS, models: LABELLING_MODELS.filter((model) => model !== ALWAYS_THINKS) },
} satisfies Record<string, LabelWay>;

/** What the guide says of each model: a thousand labels by `/classify` and in a batch, and what a batch of 100,000 holds. */
const told = new Map(
  [...guide.matchAll(/^\| `(\S+)` +\| \$([\d.]+) +\| \$([\d.]+) +\| \$([\d.,]+) +\|$/gm)].map(([, model, ...usd]) => [
    model,
    usd.map((one) => Number(one.replace(',', ''))),
  ]),
);
/** How far a figure may be from the guide's: how much is thought about fewer texts is another mean. */
const [OFF, OFF_OF_FEW] = [0.005, 0.03];

/** Has texts labelled, and expects that none is lost, that few are asked about twice, and that the cost is what the guide says. */
export async function labelAll(way: keyof typeof LABEL_WAYS, model: string, count: number): Promise<void> {
  const { by, names } = LABEL_WAYS[way];
  const api = thinkingApi();
  const { labels, usd, held = 0 } = await by(api, model, count);
  const lost = labels.filter((label, n) => label !== names[n % names.length]).length;
  const { calls, read, written } = api;
  const [perThousand, heldByMost] = [(usd / count) * 1_000, (held / count) * 100_000];
  // biome-ignore lint/suspicious/noConsole: the figures are shown with --silent=false
  console.info(`${way} by ${model}:`, { labels: count, lost, calls, read, written, perThousand, heldByMost });
  expect({ labels: labels.length, lost }).toEqual({ labels: count, lost: 0 });
  expect(calls / count).toBeLessThanOrEqual(MOST_CALLS);
  const [classify = 0, batch = 0, hold = 0] = told.get(model) ?? [];
  const off = count < 1_000 ? OFF_OF_FEW : OFF;
  expect(Math.abs(perThousand / (way === 'batch' ? batch : classify) - 1)).toBeLessThan(off);
  if (way === 'batch') expect(Math.abs(heldByMost / hold - 1)).toBeLessThan(off);
}
