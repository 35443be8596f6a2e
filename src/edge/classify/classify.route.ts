import type { Context } from 'hono';
import { type AppEnv, contextOf } from '../auth/context.ts';
import type { Identity } from '../auth/identity/caller.ts';
import { describeNames, type RestrictedName, resolveRestrictedName } from '../auth/identity/only.ts';
import { route } from '../auth/route.ts';
import { fromUsd, type Nanodollars, toUsd } from '../claude/pricing/cost.ts';
import { readRequestField } from '../claude/request/all-fields.ts';
import { upstreamFor } from '../claude/upstream.ts';
import { sha256Hex } from '../kit/http/bytes.ts';
import { ApiError, missingPluginError, rejectOtherFields, restrictedTokenError } from '../kit/http/errors.ts';
import { validate } from '../kit/http/validate.ts';
import { removeUndefined } from '../kit/json/object.ts';
import { contribution } from '../kit/plugins/plugins.ts';
import { endHeaders, noteEnd } from '../money/admission/answer-end.ts';
import { readJson } from '../money/admission/read-body.ts';
import { assignIds, classifyRequest } from './classify.schema.ts';
import type { ClassifyResult } from './classify-answers.schema.ts';
import { negotiateFormat, type StreamedResult, streamResults } from './result-stream.ts';
import { type Classified, classify } from './task/classify.ts';
import { classifyAll } from './task/classify-all.ts';
import { CostTotal } from './task/cost-total.ts';
import type { NotClassified } from './task/failure.ts';
import type { ClassifyContext } from './task/take-vote.ts';
import { resolveTask, type Task } from './task/task.ts';

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
    { needs: 'classify', restrictedClassifier: true, spends: true, body: classifyRequest },
    async (c, { body }) => {
      const { json, bytes } = await readJson(c, 'price');
      const request = validate(body, json);
      const { input, inputs: asked, stream, batch, deliver_url: deliverUrl, ...classifier } = request;
      const inputs = asked && assignIds(asked);
      const bound = resolveRestrictedClassifier(c.get('identity'), request, c.req.raw.headers);
      const context = createClassifyContext(c);
      const task = await resolveTask(
        { ...classifier, prefix: readRequestField('prefix', c.req.raw.headers, json) },
        context,
        bound,
      );
      c.get('entry').line.model = task.model.slice(0, 128);
      if (batch && inputs) {
        const digest = (await sha256Hex(bytes)) + (c.req.header('sluice-prefix') ?? '');
        const handleBatch = contribution('classifyByBatch');
        if (!handleBatch) throw missingPluginError('batches', 'batch: the inputs are labelled by batch');
        return await handleBatch(c, { task, inputs, digest, deliverUrl });
      }
      const format = negotiateFormat(c, stream);
      const items = inputs ?? [{ id: undefined, input }];
      if (!format && !inputs) return await classifyOne(c, task, input, context);
      return await respondWithResults(
        c,
        format,
        classifyItems(c, task, items, context),
        context,
        (results, summary) => ({
          results,
          ...summary,
        }),
      );
    },
  ),
];

/** @returns the context in which a request classifies: who pays, and how the upstream is reached */
export function createClassifyContext(c: Context<AppEnv>): ClassifyContext {
  const isBound = c.get('identity').only !== undefined;
  return {
    ...contextOf(c),
    upstream: upstreamFor(c),
    signal: c.req.raw.signal,
    simulate: isBound ? undefined : c.req.header('sluice-simulate'),
    fallbacks: isBound ? undefined : readRequestField('fallback_models', c.req.raw.headers, {}),
  };
}

async function classifyOne(
  c: Context<AppEnv>,
  task: Task,
  input: unknown,
  context: ClassifyContext,
): Promise<Response> {
  const outcome = await classify(task, input, context);
  const { nanodollars, upstream, usage, model } = outcome;
  noteEnd(c.get('entry').line, outcome, nanodollars);
  if (outcome.outcome === 'classified') {
    const body = { ...outcome.result, usage, cost_usd: toUsd(nanodollars), model };
    return respondWithCost(body, nanodollars, context, { ...outcome.headers, ...endHeaders(upstream) });
  }
  const { error } = outcome;
  const headers = {
    ...outcome.headers,
    ...error.headers,
    ...simulatorHeader(context),
    ...endHeaders(upstream, nanodollars),
  };
  throw new ApiError(error.type, error.message, { ...error, headers, cause: error });
}

/** Yields a result for each input, and the summary at the end. */
async function* classifyItems(
  c: Context<AppEnv>,
  task: Task,
  items: readonly { id?: string | undefined; input?: unknown }[],
  context: ClassifyContext,
): AsyncGenerator<StreamedResult, void, undefined> {
  const total = new CostTotal();
  let index = 0;
  for await (const outcome of classifyAll(
    task,
    items.map(({ input }) => input),
    context,
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
type UnclassifiedInput = Pick<NotClassified, 'outcome'> & { error: { type: string; message: string } };

/** @returns the result of one of several inputs, as it is sent */
export function resultOf(
  { classifier: { multi, schema } }: { classifier: Pick<Task['classifier'], 'multi' | 'schema'> },
  outcome: Pick<Classified, 'outcome' | 'result'> | UnclassifiedInput,
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
 * @param combine makes the one piece of them, from the results before the summary and from the summary
 */
export async function respondWithResults(
  c: Context<AppEnv>,
  format: ReturnType<typeof negotiateFormat>,
  results: AsyncGenerator<StreamedResult, void, undefined>,
  context: ClassifyContext,
  combine: (results: readonly object[], summary: object) => object,
): Promise<Response> {
  if (!format) {
    const list: object[] = [];
    for await (const { type, ...rest } of results) {
      if (type === 'summary') return respondWithCost(combine(list, rest), fromUsd(Number(rest.cost_usd)), context);
      list.push(rest);
    }
    throw new ApiError('api_error', 'The results ended without their sum. Try again.');
  }
  const entry = c.get('entry');
  entry.begin();
  const response = streamResults(c, format, results, () => entry.end());
  for (const [name, value] of Object.entries(simulatorHeader(context))) response.headers.set(name, value);
  return response;
}

/** @returns an answer as JSON, with its cost in a header */
function respondWithCost(
  body: object,
  cost: Nanodollars,
  context: ClassifyContext,
  headers: Record<string, string> = {},
): Response {
  return Response.json(body, { headers: { ...headers, ...simulatorHeader(context), ...endHeaders(undefined, cost) } });
}

/** @returns the header that marks a simulated answer, so that nobody thinks it is Claude's */
function simulatorHeader({ upstream }: ClassifyContext): Record<string, string> {
  const { isSimulated: simulated, pool } = upstream;
  const isAll = pool?.all.every((one) => one.isSimulated) ?? simulated;
  return isAll ? { 'sluice-upstream': 'simulator' } : {};
}

/** Members of a restricted token's request that count. The classifier says all others. */
const RESTRICTED_REQUEST_FIELDS: ReadonlySet<string> = new Set(['classifier', 'input', 'inputs', 'stream']);

/**
 * Finds the classifier that a restricted token asks.
 *
 * @returns whose it is, to be found; undefined for a caller whose token is not restricted
 * @throws ApiError 403 for a classifier that it may not ask, and for whatever would change what the classifier does
 */
function resolveRestrictedClassifier(
  { account, only }: Identity,
  members: Readonly<Record<string, unknown>>,
  headers: Headers,
): RestrictedName | undefined {
  if (!only) return undefined;
  rejectOtherFields(Object.keys(removeUndefined(members)), RESTRICTED_REQUEST_FIELDS, 'classifier');
  if (headers.has('sluice-prefix')) throw restrictedTokenError('sluice-prefix: only the classifier decides this.');
  const found = resolveRestrictedName(only.classifiers, account, String(members.classifier));
  if (found) return found;
  const names = describeNames(only.classifiers);
  throw restrictedTokenError(
    `classifier: this credential may ask these classifiers alone: ${names}. Name one of them.`,
  );
}
