import type { Context } from 'hono';
import { loggedTokens, toUsd } from '../../claude/pricing/cost.ts';
import { type Fetch, upstreamOf } from '../../claude/upstream.ts';
import { requireScope } from '../../gate/auth/authenticate.ts';
import { openToBound } from '../../gate/auth/bound-routes.ts';
import { type AppEnv, contextOf } from '../../gate/auth/context.ts';
import { sha256Hex } from '../../kit/http/bytes.ts';
import { ApiError } from '../../kit/http/errors.ts';
import { Hono } from '../../kit/http/hono.ts';
import { validate } from '../../kit/http/validate.ts';
import { formatUsd } from '../../money/admission/limit-headers.ts';
import { readJson } from '../../money/admission/read-body.ts';
import { refuseSpent } from '../../rooms/pools/spent-pools.ts';
import { askedMember, refuseAbsent } from '../../talk/contracts/members.ts';
import { boundClassifier } from './bound-classifier.ts';
import { classifyRequest } from './classify.schema.ts';
import type { ClassifyResult } from './classify-answers.schema.ts';
import { formatAsked, type StreamedResult, streamResults } from './result-stream.ts';
import { type ClassificationResult, type Classified, classify } from './task/classify.ts';
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

/**
 * Makes the route `/classify`, which labels one text or many.
 *
 * @param byBatch answers a request that wants a batch
 */
export function classifyRoutes(
  fetchUpstream: Fetch | undefined,
  byBatch: (c: Context<AppEnv>, work: BatchWork) => Promise<Response>,
) {
  return new Hono<AppEnv>().post('/classify', openToBound(refuseSpent(requireScope('classify'))), async (c) => {
    const { json, bytes } = await readJson(c, 'price');
    refuseAbsent({}, c.req.raw.headers);
    const request = validate(classifyRequest, json);
    const { input, inputs, stream, batch, deliver_url: deliverUrl, ...asked } = request;
    const bound = boundClassifier(c.get('identity'), request, c.req.raw.headers);
    const by = classifyingIn(c, fetchUpstream);
    const task = await taskOf({ ...asked, prefix: askedMember('prefix', c.req.raw.headers, json) }, by, bound);
    c.get('entry').line.model = task.model.slice(0, 128);
    if (batch && inputs) {
      const digest = (await sha256Hex(bytes)) + (c.req.header('sluice-prefix') ?? '');
      return await byBatch(c, { task, inputs, digest, deliverUrl });
    }
    const format = formatAsked(c, stream);
    const items = inputs ?? [{ id: undefined, input }];
    if (format) return streamedResults(c, format, classifyItems(c, task, items, by), by);
    if (!inputs) return await classifyOne(c, task, input, by);
    const results: ClassifyResult[] = [];
    for await (const { type, ...rest } of classifyItems(c, task, inputs, by)) {
      if (type === 'result') results.push(rest as unknown as ClassifyResult);
      else return answerWithCost({ results, ...rest }, Number(rest.cost_usd), by);
    }
    throw new ApiError('api_error', 'The results ended without their sum. Try again.');
  });
}

/** @returns the context in which a request classifies: who pays, and how the upstream is reached */
export function classifyingIn(c: Context<AppEnv>, fetchUpstream?: Fetch): Classifying {
  const isBound = c.get('identity').only !== undefined;
  return {
    ...contextOf(c),
    upstream: upstreamOf(c.get('settings'), fetchUpstream),
    signal: c.req.raw.signal,
    simulate: isBound ? undefined : c.req.header('sluice-simulate'),
    fallbacks: isBound ? undefined : askedMember('fallback_models', c.req.raw.headers, {}),
  };
}

async function classifyOne(c: Context<AppEnv>, task: Task, input: unknown, by: Classifying): Promise<Response> {
  const outcome = await classify(task, input, by);
  noteCost(c, outcome);
  c.get('entry').line.upstream_request_id = outcome.upstreamRequestId;
  if (outcome.upstream !== undefined) c.get('entry').line.upstream = outcome.upstream;
  const cost_usd = toUsd(outcome.nanodollars);
  if (outcome.outcome === 'classified') {
    const { result, usage, model, headers } = outcome;
    return answerWithCost({ ...result, usage, cost_usd, model }, cost_usd, by, {
      ...headers,
      ...upstreamHeader(outcome),
    });
  }
  const { error } = outcome;
  const headers = {
    ...outcome.headers,
    ...error.headers,
    ...simulatorHeader(by),
    ...upstreamHeader(outcome),
    'sluice-cost-usd': formatUsd(outcome.nanodollars),
  };
  const { type, message, status, logged, upstreamSaid } = error;
  throw new ApiError(type, message, { status, headers, logged, upstreamSaid, cause: error });
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
  noteCost(c, total);
  yield { type: 'summary', usage: total.usage, cost_usd: toUsd(total.nanodollars), model: task.model };
}

/** An input without a label, and why. */
type Unlabelled = Pick<NotClassified, 'outcome'> & { error: { type: string; message: string } };

/** @returns the result of one of several inputs, as it is sent */
export function resultOf(
  { classifier: { multi } }: { classifier: Pick<Task['classifier'], 'multi'> },
  outcome: Pick<Classified, 'outcome' | 'result'> | Unlabelled,
): Omit<ClassifyResult, 'id'> {
  if (outcome.outcome === 'classified') return { ...outcome.result, error: null };
  const { type, message } = outcome.error;
  const none = multi ? { labels: null } : { label: null };
  return { ...none, confidence: null, fields: null, cached: false, error: { type, message } };
}

/** Streams results. The log line is written after the last one is sent. */
export function streamedResults(
  c: Context<AppEnv>,
  format: NonNullable<ReturnType<typeof formatAsked>>,
  results: AsyncGenerator<StreamedResult, void, undefined>,
  by: Classifying,
): Response {
  const entry = c.get('entry');
  entry.begin();
  const response = streamResults(c, format, results, () => entry.end());
  for (const [name, value] of Object.entries(simulatorHeader(by))) response.headers.set(name, value);
  return response;
}

/** @returns an answer as JSON, with its cost in a header */
export function answerWithCost(
  body: object,
  costUsd: number,
  by: Classifying,
  headers: Record<string, string> = {},
): Response {
  const price = formatUsd(Math.round(costUsd * 1e9));
  return Response.json(body, { headers: { ...headers, ...simulatorHeader(by), 'sluice-cost-usd': price } });
}

/** @returns the header that marks a simulated answer, so that nobody thinks it is Claude's */
function simulatorHeader({ upstream }: Classifying): Record<string, string> {
  const { simulated, pool } = upstream;
  const isAll = pool?.all.every((one) => one.simulated) ?? simulated;
  return isAll ? { 'sluice-upstream': 'simulator' } : {};
}

/** @returns the header that says which of several upstreams has answered. */
function upstreamHeader({ upstream }: ClassificationResult): Record<string, string> {
  return upstream === undefined ? {} : { 'sluice-upstream': upstream };
}

/** Writes the cost and the tokens of a request into its log line. */
export function noteCost(
  c: Context<AppEnv>,
  { nanodollars, usage }: Pick<ClassificationResult, 'nanodollars' | 'usage'>,
): void {
  const { line } = c.get('entry');
  line.cost_usd = toUsd(nanodollars);
  line.tokens = loggedTokens(usage);
}
