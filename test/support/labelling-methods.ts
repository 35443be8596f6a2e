/** Has texts labelled by each way that there is, at the API whose models think. */

import { expect, onTestFinished, vi } from 'vitest';
import type { ClassifyAnswer } from '#edge/classify/classify-answers.schema.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { hmac } from '#edge/kit/delivery/hmac.ts';
import { defineWebhook } from '#edge/plugins/webhooks/sources/define-webhook.ts';
import guide from '../../docs/classification.md?raw';
import { askWhole, createRouterEdge, LEVELS } from './chosen-models.ts';
import { bindings, createClassifyCaller, LABELS } from './classification.ts';
import { createJobEdge, readPayments } from './classification-jobs.ts';
import { createThinkingApi, createTicket } from './thinking-label-api.ts';
import { createEvent, createWebhookWorks, getInbox } from './webhooks.ts';

/** Labels and what they have cost, by what the edge says; and what was held before. */
interface LabelOutcome {
  labels: unknown[];
  usd: number;
  held?: number;
}
type Api = ReturnType<typeof createThinkingApi>;
type LabelTexts = (api: Api, model: string, count: number) => Promise<LabelOutcome>;

/** The most texts of one request, and the most events and questions at a time. */
const [AT_ONCE, BESIDE] = [256, 50];
const MAX_CALLS = 1.05;

const createInputs = (count: number) =>
  Array.from({ length: count }, (_, n) => ({ id: String(n), input: createTicket(n, LABELS) }));

/** @returns the numbers up to a count, in parts */
function divideIntoParts(count: number, size: number): number[][] {
  const numbers = Array.from({ length: count }, (_, n) => n);
  return Array.from({ length: Math.ceil(count / size) }, (_, nth) => numbers.slice(nth * size, (nth + 1) * size));
}

async function labelByClassify({ fetch }: Api, model: string, count: number): Promise<LabelOutcome> {
  const { request: ask } = await createClassifyCaller(
    async ({ url, method, text }) => await fetch(url.href, { method, body: text }),
  );
  const labelled: LabelOutcome = { labels: [], usd: 0 };
  const inputs = createInputs(count);
  for (let from = 0; from < count; from += AT_ONCE) {
    const answer = await ask({ inputs: inputs.slice(from, from + AT_ONCE), labels: LABELS, model });
    const { results, cost_usd } = (await answer.json()) as { results: ClassifyAnswer[]; cost_usd: number };
    labelled.labels.push(...results.map(({ label }) => label));
    labelled.usd += cost_usd;
  }
  return labelled;
}

async function labelByBatch({ fetch, batches }: Api, model: string, count: number): Promise<LabelOutcome> {
  const edge = createJobEdge({}, fetch);
  const account = crypto.randomUUID();
  const begun = await edge.createJob({ inputs: createInputs(count), labels: LABELS, model }, account);
  const { held } = await readPayments(account);
  batches.end();
  const { rows, summary } = await edge.readResults(await edge.settleJob(begun, account), account);
  const labels = new Map(rows.map(({ id, label }) => [id, label]));
  return { labels: createInputs(count).map(({ id }) => labels.get(id)), usd: summary.cost_usd, held: held / 1e9 };
}

async function labelByWebhook({ fetch }: Api, model: string, count: number): Promise<LabelOutcome> {
  const told = new Map<string, { label?: unknown; cost_usd: number | null }>();
  const source = 'tickets';
  const tickets = defineWebhook({
    source,
    verify: hmac({ header: 'x' }),
    text: () => undefined,
    labels: LABELS,
    model,
    account: 'ada',
    deliver: async (result) => {
      told.set(result.event_id, result);
    },
  });
  // These timers stay after what they limit, and an isolate may have ten thousand.
  const timers = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(new AbortController().signal);
  onTestFinished(() => timers.mockRestore());
  const works = createWebhookWorks({ webhooks: [tickets], fetch });
  const eventIdOf = (n: number) => `${source}_${n}`;
  for (const part of divideIntoParts(count, BESIDE)) {
    // An account that pays for webhooks may spend a dollar a day, until its operator says otherwise.
    for (const n of part) await getInbox(source).acceptEvent(createEvent(eventIdOf(n), createTicket(n, LABELS), 'ada'));
    expect(await works.consume(part.map(eventIdOf))).toEqual([]);
  }
  const results = divideIntoParts(count, 1).map(([n = 0]) => told.get(eventIdOf(n)));
  return {
    labels: results.map((result) => result?.label),
    usd: results.reduce((sum, result) => sum + (result?.cost_usd ?? Number.NaN), 0),
  };
}

async function labelByChoice({ answer }: Api, model: string, count: number): Promise<LabelOutcome> {
  const { app, bob } = await createRouterEdge({
    classifier: { model },
    label: (body) => Response.json(answer(body)),
  });
  const labels: unknown[] = [];
  for (let n = 0; n < count; n += 1) {
    const { chosen } = await askWhole(app, bob, createTicket(n, LEVELS), { conversation: `c${n}` });
    labels.push(/; why=label; label=(\w+)/.exec(chosen)?.[1]);
  }
  const account = getAccountStub(bindings, {}, 'bob');
  let usd = 0;
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page: { rows: { route: string; cost_usd: number | null }[]; next: string | null } =
      await account.exportLedgerRows(cursor);
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
  label: LabelTexts;
  names: readonly string[];
  models: readonly string[];
}

/** An agent's choice does not wait for a model that always thinks. */
export const LABELLING_METHODS = {
  classify: { label: labelByClassify, names: LABELS, models: LABELLING_MODELS },
  batch: { label: labelByBatch, names: LABELS, models: LABELLING_MODELS },
  webhook: { label: labelByWebhook, names: LABELS, models: LABELLING_MODELS },
  choice: { label: labelByChoice, names: LEVELS, models: LABELLING_MODELS.filter((model) => model !== ALWAYS_THINKS) },
} satisfies Record<string, LabelWay>;

/** What the guide says of each model: a thousand labels by `/classify` and in a batch, and what a batch of 100,000 holds. */
const documentedNumbers = new Map(
  [...guide.matchAll(/^\| `(\S+)` +\| \$([\d.]+) +\| \$([\d.]+) +\| \$([\d.,]+) +\|$/gm)].map(([, model, ...usd]) => [
    model,
    usd.map((one) => Number(one.replace(',', ''))),
  ]),
);
/** How far a figure may be from the guide's: how much is thought about fewer texts is another mean. */
const [OFF, OFF_OF_FEW] = [0.005, 0.03];

/** Has texts labelled, and expects that none is lost, that few are asked about twice, and that the cost is what the guide says. */
export async function labelAndCheck(way: keyof typeof LABELLING_METHODS, model: string, count: number): Promise<void> {
  const { label, names } = LABELLING_METHODS[way];
  const api = createThinkingApi();
  const { labels, usd, held = 0 } = await label(api, model, count);
  const lost = labels.filter((one, n) => one !== names[n % names.length]).length;
  const { calls, read, written } = api;
  const [perThousand, heldByMost] = [(usd / count) * 1_000, (held / count) * 100_000];
  // biome-ignore lint/suspicious/noConsole: the figures are shown with --silent=false
  console.info(`${way} by ${model}:`, { labels: count, lost, calls, read, written, perThousand, heldByMost });
  expect({ labels: labels.length, lost }).toEqual({ labels: count, lost: 0 });
  expect(calls / count).toBeLessThanOrEqual(MAX_CALLS);
  const [classify = 0, batch = 0, hold = 0] = documentedNumbers.get(model) ?? [];
  const off = count < 1_000 ? OFF_OF_FEW : OFF;
  expect(Math.abs(perThousand / (way === 'batch' ? batch : classify) - 1)).toBeLessThan(off);
  if (way === 'batch') expect(Math.abs(heldByMost / hold - 1)).toBeLessThan(off);
}
