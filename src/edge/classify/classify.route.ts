import type { Context } from 'hono';
import { type AppEnv, contextOf } from '../auth/context.ts';
import type { Identity } from '../auth/identity/caller.ts';
import { type BoundName, boundName, namesTold } from '../auth/identity/only.ts';
import { route } from '../auth/route.ts';
import { fromUsd, type Nanodollars, toUsd } from '../claude/pricing/cost.ts';
import { readOption } from '../claude/request/members.ts';
import { upstreamFor } from '../claude/upstream.ts';
import { sha256Hex } from '../kit/http/bytes.ts';
import { ApiError, closedToBound, needsPlugin, refuseOtherMembers } from '../kit/http/errors.ts';
import { validate } from '../kit/http/validate.ts';
import { withoutUndefined } from '../kit/json/object.ts';
import { contribution } from '../kit/plugins/plugins.ts';
import { endHeaders, noteEnd } from '../money/admission/answer-end.ts';
import { readJson } from '../money/admission/read-body.ts';
import { classifyRequest, withIds } from './classify.schema.ts';
import type { ClassifyResult } from './classify-answers.schema.ts';
import { formatAsked, type StreamedResult, streamResults } from './result-stream.ts';
import { type Classified, classify } from './task/classify.ts';
import { classifyAll } from './task/classify-all.ts';
import type { NotClassified } from './task/failure.ts';
import type { Classifying } from './task/take-vote.ts';
import { type Task, taskOf } from './task/task.ts';
import { Total } from './task/total.ts';

/** What is to be labelled by a batch. */
export interface BatchWork {
  task: Task;
  inputs: readonly { id: string; input?: unknown }[];
  /** A hash of the request. A request with the same key must be the same. */
  digest: string;
  deliverUrl: string | undefined;
}

declare module '../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Answers `POST /classify` with `batch: true`. Only one plugin may have it. */
    readonly classifyByBatch?: (c: Context<AppEnv>, work: BatchWork) => Promise<Response>;
  }
}

/** The route `/classify`, which labels one text or many. */
export const CLASSIFY_ROUTES = [
  route(
    'POST /classify',
    { needs: 'classify', bound: true, spends: true, body: classifyRequest },
    async (c, { body }) => {
      const { json, bytes } = await readJson(c, 'price');
      const request = validate(body, json);
      const { input, inputs: asked, stream, batch, deliver_url: deliverUrl, ...classifier } = request;
      const inputs = asked && withIds(asked);
      const bound = boundClassifier(c.get('identity'), request, c.req.raw.headers);
      const by = classifyingIn(c);
      const task = await taskOf({ ...classifier, prefix: readOption('prefix', c.req.raw.headers, json) }, by, bound);
      c.get('entry').line.model = task.model.slice(0, 128);
      if (batch && inputs) {
        const digest = (await sha256Hex(bytes)) + (c.req.header('sluice-prefix') ?? '');
        const byBatch = contribution('classifyByBatch');
        if (!byBatch) throw needsPlugin('batches', 'batch: the inputs are labelled by batch');
        return await byBatch(c, { task, inputs, digest, deliverUrl });
      }
      const format = formatAsked(c, stream);
      const items = inputs ?? [{ id: undefined, input }];
      if (!format && !inputs) return await classifyOne(c, task, input, by);
      return await answerResults(c, format, classifyItems(c, task, items, by), by, (results, summary) => ({
        results,
        ...summary,
      }));
    },
  ),
];

/** @returns the context in which a request classifies: who pays, and how the upstream is reached */
export function classifyingIn(c: Context<AppEnv>): Classifying {
  const isBound = c.get('identity').only !== undefined;
  return {
    ...contextOf(c),
    upstream: upstreamFor(c),
    signal: c.req.raw.signal,
    simulate: isBound ? undefined : c.req.header('sluice-simulate'),
    fallbacks: isBound ? undefined : readOption('fallback_models', c.req.raw.headers, {}),
  };
}

async function classifyOne(c: Context<AppEnv>, task: Task, input: unknown, by: Classifying): Promise<Response> {
  const outcome = await classify(task, input, by);
  const { nanodollars, upstream, usage, model } = outcome;
  noteEnd(c.get('entry').line, outcome, nanodollars);
  if (outcome.outcome === 'classified') {
    const body = { ...outcome.result, usage, cost_usd: toUsd(nanodollars), model };
    return answerWithCost(body, nanodollars, by, { ...outcome.headers, ...endHeaders(upstream) });
  }
  const { error } = outcome;
  const headers = {
    ...outcome.headers,
    ...error.headers,
    ...simulatorHeader(by),
    ...endHeaders(upstream, nanodollars),
  };
  throw new ApiError(error.type, error.message, { ...error, headers, cause: error });
}

/** Yields a result for each input, and the summary at the end. */
async function* classifyItems(
  c: Context<AppEnv>,
  task: Task,
  items: readonly { id?: string | undefined; input?: unknown }[],
  by: Classifying,
): AsyncGenerator<StreamedResult, void, undefined> {
  const total = new Total();
  let index = 0;
  for await (const outcome of classifyAll(
    task,
    items.map(({ input }) => input),
    by,
  )) {
    total.add(outcome);
    const id = items[index]?.id;
    index += 1;
    yield { type: 'result', ...(id === undefined ? {} : { id }), ...resultOf(task, outcome) };
  }
  noteEnd(c.get('entry').line, total, total.nanodollars);
  yield { type: 'summary', usage: total.usage, cost_usd: toUsd(total.nanodollars), model: task.model };
}

/** An input without a label, and why. */
type Unlabelled = Pick<NotClassified, 'outcome'> & { error: { type: string; message: string } };

/** @returns the result of one of several inputs, as it is sent */
export function resultOf(
  { classifier: { multi, schema } }: { classifier: Pick<Task['classifier'], 'multi' | 'schema'> },
  outcome: Pick<Classified, 'outcome' | 'result'> | Unlabelled,
): Omit<ClassifyResult, 'id'> {
  if (outcome.outcome === 'classified') return { ...outcome.result, error: null };
  const { type, message } = outcome.error;
  const none = multi ? { labels: null } : { label: null };
  const output = schema ? { output: null } : {};
  return { ...none, confidence: null, fields: null, ...output, cached: false, error: { type, message } };
}

/**
 * Answers with results, in one piece or as a stream, whose log line is written after the last one is sent.
 *
 * @param whole makes the one piece of them, from the results before the summary and from the summary
 */
export async function answerResults(
  c: Context<AppEnv>,
  format: ReturnType<typeof formatAsked>,
  results: AsyncGenerator<StreamedResult, void, undefined>,
  by: Classifying,
  whole: (results: readonly object[], summary: object) => object,
): Promise<Response> {
  if (!format) {
    const list: object[] = [];
    for await (const { type, ...rest } of results) {
      if (type === 'summary') return answerWithCost(whole(list, rest), fromUsd(Number(rest.cost_usd)), by);
      list.push(rest);
    }
    throw new ApiError('api_error', 'The results ended without their sum. Try again.');
  }
  const entry = c.get('entry');
  entry.begin();
  const response = streamResults(c, format, results, () => entry.end());
  for (const [name, value] of Object.entries(simulatorHeader(by))) response.headers.set(name, value);
  return response;
}

/** @returns an answer as JSON, with its cost in a header */
function answerWithCost(
  body: object,
  cost: Nanodollars,
  by: Classifying,
  headers: Record<string, string> = {},
): Response {
  return Response.json(body, { headers: { ...headers, ...simulatorHeader(by), ...endHeaders(undefined, cost) } });
}

/** @returns the header that marks a simulated answer, so that nobody thinks it is Claude's */
function simulatorHeader({ upstream }: Classifying): Record<string, string> {
  const { simulated, pool } = upstream;
  const isAll = pool?.all.every((one) => one.simulated) ?? simulated;
  return isAll ? { 'sluice-upstream': 'simulator' } : {};
}

/** Members of a restricted token's request that count. The classifier says all others. */
const OF_BOUND: ReadonlySet<string> = new Set(['classifier', 'input', 'inputs', 'stream']);

/**
 * Finds the classifier that a restricted token asks.
 *
 * @returns whose it is, to be found; undefined for a caller whose token is not bound
 * @throws ApiError 403 for a classifier that it may not ask, and for whatever would change what the classifier does
 */
function boundClassifier(
  { account, only }: Identity,
  members: Readonly<Record<string, unknown>>,
  headers: Headers,
): BoundName | undefined {
  if (!only) return undefined;
  refuseOtherMembers(Object.keys(withoutUndefined(members)), OF_BOUND, 'classifier');
  if (headers.has('sluice-prefix')) throw closedToBound('sluice-prefix: only the classifier decides this.');
  const found = boundName(only.classifiers, account, String(members.classifier));
  if (found) return found;
  const names = namesTold(only.classifiers);
  throw closedToBound(`classifier: this credential may ask these classifiers alone: ${names}. Name one of them.`);
}
