/** Classifications by batch at the simulator: they are begun, driven to their end, and compared with `/classify`. */

import { runDurableObjectAlarm } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, onTestFinished, vi } from 'vitest';
import type { ClassifyResult, ClassifyUsage } from '#edge/classify/classify-answers.schema.ts';
import { type Fetch, getUpstreamBySettings, type Upstream } from '#edge/claude/upstream.ts';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import { getAccountStub, getBatchStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { MessageBatch } from '#edge/money/lists/batches-answers.schema.ts';
import { Batch } from '#edge/plugins/batches/batch.ts';
import { createBody, createTestApp, type SentRequest, TEST_KEY, type TestApp } from './app.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from './tokens.ts';

const bindings = env as unknown as Bindings;

export const LABELS = [
  { name: 'billing', description: 'invoices, charges, refunds, payment' },
  { name: 'bug', description: 'something is broken, crashes, or shows an error' },
  { name: 'account', description: 'login, password, profile, email address' },
];
const TEXTS = [
  'I was charged twice, please send a refund of the second payment, order',
  'The app crashes and shows an error when I open page',
  'I forgot the password of my login and my email address is number',
];
/** The tag of each prompt is random, and its tokens are not always as many. */
const TAG = /input-[0-9a-f]{32}/g;
const FIXED_TAG = `input-${'0'.repeat(32)}`;

export const createTicket = (index: number) => `${TEXTS[index % TEXTS.length]} ${index}.`;
export const createInputs = (count: number) =>
  Array.from({ length: count }, (_, index) => ({ id: `t${index}`, input: createTicket(index) }));

type ResultRow = ClassifyResult & { type: string };
type Summary = { usage: ClassifyUsage; cost_usd: number };

interface LabelRequest {
  max_tokens: number;
  thinking?: { type: string };
  messages: { content: { text: string }[] }[];
}

/** The edge with a simulator that bills batches at half price. */
export interface JobEdge {
  app: TestApp;
  /** What the upstream says in place of the simulator, if anything. */
  instead: ((sent: SentRequest) => Response | undefined) | undefined;
  /** How many times results break off before they come whole. */
  interruptionCount: number;
  /** The batches of this edge whose making has begun: their ids with their accounts. */
  readonly batches: ReadonlyMap<string, string>;
  /** Moves the clock of all objects. */
  advanceClock(milliseconds: number): void;
  requestJob(body: object, account?: string, headers?: Record<string, string>): Promise<Response>;
  createJob(body: object, account?: string, headers?: Record<string, string>): Promise<MessageBatch>;
  readJob(id: string, account?: string): Promise<MessageBatch>;
  /** Has the account's batches do what is due. */
  wakeBatches(account?: string): Promise<void>;
  /** Has the batch settle. */
  settleJob(report: MessageBatch, account?: string): Promise<MessageBatch>;
  /** Its results, in the order of their ids. */
  readResults(report: MessageBatch, account?: string): Promise<{ rows: ResultRow[]; summary: Summary }>;
  /** The same by `/classify`, as many at a time as that takes. */
  classifyDirectly(
    body: object & { inputs: readonly object[] },
    account: string,
  ): Promise<{ rows: ResultRow[]; usage: ClassifyUsage; cost: number }>;
  /** What the upstream was asked, in batches and by messages: how often each text. */
  countAskedTexts(): Map<string, number>;
  listUpstreamRequests(): { custom_id: string; params: LabelRequest }[];
}

const createCredential = async (account: string) => bearerHeader(await createToken(account, ['classify']));

const createJobSimulator = () =>
  getUpstreamBySettings(
    parseSettingsOnce(
      {
        ...bindings,
        UPSTREAM: 'simulator',
        SIMULATOR_BATCH_MS: '1',
        SIMULATOR_TTFT_MS: '0',
        SIMULATOR_TOKENS_PER_SECOND: '0',
      },
      true,
    ),
  ).fetch;

/** @param vars settings besides those of a deployment with a key @param simulate the API, in place of the simulator */
export function createJobEdge(vars: Record<string, string> = {}, simulate: Fetch = createJobSimulator()): JobEdge {
  const settings = {
    ...DEPLOYED_VARS,
    MODE: 'development',
    ANTHROPIC_API_KEY: TEST_KEY,
    UPSTREAM: 'anthropic',
    UPSTREAM_MAX_RETRIES: '0',
    ...vars,
  };
  const batches = new Map<string, string>();
  let passed = 0;
  const app = createTestApp(async (request) => {
    const { method, url, headers, text } = request;
    const body = method === 'POST' ? { body: text.replaceAll(TAG, FIXED_TAG) } : {};
    return edge.instead?.(request) ?? (await simulate(url.href, { method, headers, ...body }));
  }, settings);
  const upstream: Upstream = {
    baseURL: 'https://api.anthropic.com',
    apiKey: TEST_KEY,
    isSimulated: false,
    fetch: async (url, init) => {
      const response = await simulate(url, init);
      if (!url.endsWith('/results') || edge.interruptionCount === 0) return response;
      edge.interruptionCount -= 1;
      const text = await response.text();
      return new Response(createBody([text.slice(0, text.length * 0.7)], 'cut'));
    },
  };
  const inside = Batch.prototype as unknown as { now(): number; settings(): unknown; upstream(): Upstream };
  const spies = [
    vi.spyOn(inside, 'now').mockImplementation(() => Date.now() + passed),
    vi.spyOn(inside, 'settings').mockReturnValue(parseSettingsOnce({ ...bindings, ...settings }, true)),
    vi.spyOn(inside, 'upstream').mockReturnValue(upstream),
  ];
  onTestFinished(() => {
    for (const spy of spies) spy.mockRestore();
  });
  wrapMethod(Batch, 'storeOpening', (callOriginal, { id, account }) => {
    batches.set(String(id), String(account));
    return callOriginal();
  });

  const ask: JobEdge['requestJob'] = async (body, account = 'ada', headers = {}) =>
    await app.post(
      '/classify',
      { batch: true, labels: LABELS, ...body },
      { ...(await createCredential(account)), ...headers },
    );
  const read: JobEdge['readJob'] = async (id, account = 'ada') =>
    await (await app.fetch(`/classifications/${id}`, { headers: await createCredential(account) })).json();
  const wake: JobEdge['wakeBatches'] = async (account = 'ada') => {
    for (const [batch, owner] of batches) {
      if (owner === account) await runDurableObjectAlarm(getBatchStub(bindings, {}, { account, id: batch }));
    }
  };
  const readQuestions = (path: string) =>
    app.sent
      .filter(({ method, url }) => method === 'POST' && url.pathname === path)
      .map(({ text }) => JSON.parse(text));
  const requestsUp: JobEdge['listUpstreamRequests'] = () =>
    readQuestions('/v1/messages/batches').flatMap(({ requests }) => requests);

  const edge: JobEdge = {
    app,
    instead: undefined,
    interruptionCount: 0,
    batches,
    advanceClock: (milliseconds) => {
      passed += milliseconds;
    },
    requestJob: ask,
    async createJob(body, account, headers) {
      const response = await ask(body, account, headers);
      const text = await response.text();
      expect(response.status, text).toBe(202);
      return JSON.parse(text) as MessageBatch;
    },
    readJob: read,
    wakeBatches: wake,
    async settleJob({ id }, account) {
      for (let alarms = 0; alarms < 50; alarms += 1) {
        await wake(account);
        const now = await read(id, account);
        if (now.processing_status === 'ended') return now;
      }
      throw new Error('It did not end.');
    },
    async readResults({ id }, account = 'ada') {
      const response = await app.fetch(`/classifications/${id}/results`, { headers: await createCredential(account) });
      expect(response.headers.get('content-type')).toBe('application/jsonl');
      const lines = (await response.text()).trimEnd().split('\n');
      const rows = lines.map((line) => JSON.parse(line));
      const summary = rows.pop();
      expect(summary.type).toBe('summary');
      return { rows: rows.sort(compareById), summary };
    },
    async classifyDirectly(body, account) {
      const rows: ResultRow[] = [];
      const usage = { input_tokens: 0, output_tokens: 0, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };
      let cost = 0;
      for (let from = 0; from < body.inputs.length; from += 256) {
        const part = { labels: LABELS, ...body, inputs: body.inputs.slice(from, from + 256) };
        const response = await app.post('/classify', part, await createCredential(account));
        const text = await response.text();
        expect(response.status, text).toBe(200);
        const answer = JSON.parse(text) as { results: ClassifyResult[] } & Summary;
        rows.push(...answer.results.map((row) => ({ type: 'result', ...row })));
        for (const kind of Object.keys(usage) as (keyof ClassifyUsage)[]) usage[kind] += answer.usage[kind];
        cost += toNanodollars(answer.cost_usd);
      }
      return { rows: rows.sort(compareById), usage, cost };
    },
    countAskedTexts() {
      const all = [...requestsUp().map(({ params }) => params), ...(readQuestions('/v1/messages') as LabelRequest[])];
      const times = new Map<string, number>();
      for (const { messages } of all) {
        const lines = messages[0]?.content[0]?.text.split('\n') ?? [];
        const text = lines.slice(1, -1).join('\n');
        times.set(text, (times.get(text) ?? 0) + 1);
      }
      return times;
    },
    listUpstreamRequests: requestsUp,
  };
  return edge;
}

/** Compares two rows by their ids: a batch has its results in the upstream's order. */
export function compareById(first: { id?: string | undefined }, right: { id?: string | undefined }): number {
  return String(first.id) < String(right.id) ? -1 : 1;
}

/**
 * Puts something around a method of all objects of a class, until the test ends.
 *
 * @param does calls `whole`, or does not; its other argument is the method's first
 */
export function wrapMethod(
  { prototype }: { prototype: object },
  method: string,
  does: (callOriginal: () => unknown, first: Record<string, unknown>) => unknown,
): void {
  const methods = prototype as Record<string, (...args: never[]) => unknown>;
  const before = methods[method];
  if (!before) throw new TypeError(`There is no ${method}.`);
  methods[method] = function (this: unknown, ...args) {
    return does(() => before.apply(this, args), args[0] as unknown as Record<string, unknown>);
  };
  onTestFinished(() => {
    methods[method] = before;
  });
}

/** @returns an amount without a fraction, so that sums are exact */
export function toNanodollars(usd: number | null): number {
  return Math.round((usd ?? Number.NaN) * 1e9);
}

/** @returns what an account holds, and has paid today, in nanodollars; and what its ledger has of batches and all else */
export async function readPayments(
  account: string,
): Promise<{ held: number; settled: number; rows: number; booked: number }> {
  const stub = getAccountStub(bindings, {}, account);
  // Since the first request: a day may end in the middle.
  const { total } = await stub.getQuotaReport();
  const { data } = await stub.listRequests({ limit: 1_000 });
  const booked = data.reduce((sum, { cost_usd }) => sum + toNanodollars(cost_usd), 0);
  return { held: toNanodollars(total.held_usd), settled: toNanodollars(total.settled_usd), rows: data.length, booked };
}
