import type { Context } from 'hono';
import { type AppEnv, getRequestContext } from '../auth/context.ts';
import type { Identity } from '../auth/identity/caller.ts';
import { describeAllowedNames, type ResolvedRestrictedName, resolveRestrictedName } from '../auth/identity/only.ts';
import { defineRoute } from '../auth/route.ts';
import { type Nanodollars, toUsd, usdToNanodollars } from '../claude/pricing/cost.ts';
import { readRequestField } from '../claude/request/all-fields.ts';
import { getUpstreamOfContext } from '../claude/upstream.ts';
import { sha256Hex } from '../kit/http/bytes.ts';
import {
  ApiError,
  createMissingPluginError,
  createRestrictedTokenError,
  rejectFieldsNotAllowed,
} from '../kit/http/errors.ts';
import { validateBySchema } from '../kit/http/validate.ts';
import { removeUndefined } from '../kit/json/object.ts';
import { getSinglePluginMember } from '../kit/plugins/plugins.ts';
import { addEndToLogLine, createEndHeaders } from '../money/admission/answer-end.ts';
import { readJsonBody } from '../money/admission/read-body.ts';
import { classifyRequest, toItemsWithIds } from './classify.schema.ts';
import type { ClassifyResult } from './classify-answers.schema.ts';
import { createResultStreamResponse, negotiateFormat, type StreamedResult } from './result-stream.ts';
import { classifyText, type LabelledOutcome } from './task/classify.ts';
import { classifyInputsInOrder } from './task/classify-all.ts';
import { CostTotal } from './task/cost-total.ts';
import type { NotClassified } from './task/failure.ts';
import type { ClassifyContext } from './task/take-vote.ts';
import { type ClassificationTask, resolveTask } from './task/task.ts';

/** The texts that a batch must label. */
export interface BatchClassificationJob {
  task: ClassificationTask;
  inputs: readonly { id: string; input?: unknown }[];
  /** A hash of the request. A request with the same key must be the same. */
  digest: string;
  deliverUrl: string | undefined;
}

declare module '../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Answers `POST /classify` with `batch: true`. Only one plugin may have it. */
    readonly classifyByBatch?: (c: Context<AppEnv>, work: BatchClassificationJob) => Promise<Response>;
  }
}

/** The route `/classify`, which labels one text or many. */
export const CLASSIFY_ROUTES = [
  defineRoute(
    'POST /classify',
    { needs: 'classify', openToRestrictedTokens: true, spends: true, body: classifyRequest },
    async (c, { body }) => {
      const { json, bytes } = await readJsonBody(c, 'price');
      const request = validateBySchema(body, json);
      const { input, inputs: asked, stream, batch, deliver_url: deliverUrl, ...classifier } = request;
      const inputs = asked && toItemsWithIds(asked);
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
        const handleBatch = getSinglePluginMember('classifyByBatch');
        if (!handleBatch) throw createMissingPluginError('batches', 'batch:');
        return await handleBatch(c, { task, inputs, digest, deliverUrl });
      }
      const format = negotiateFormat(c, stream);
      const items = inputs ?? [{ id: undefined, input }];
      if (!format && !inputs) return await respondWithSingleLabel(c, task, input, context);
      return await respondWithResults(
        c,
        format,
        streamItemResults(c, task, items, context),
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
  const isRestricted = c.get('identity').only !== undefined;
  return {
    ...getRequestContext(c),
    upstream: getUpstreamOfContext(c),
    signal: c.req.raw.signal,
    simulate: isRestricted ? undefined : c.req.header('sluice-simulate'),
    fallbackModels: isRestricted ? undefined : readRequestField('fallback_models', c.req.raw.headers, {}),
  };
}

async function respondWithSingleLabel(
  c: Context<AppEnv>,
  task: ClassificationTask,
  input: unknown,
  context: ClassifyContext,
): Promise<Response> {
  const outcome = await classifyText(task, input, context);
  const { nanodollars, upstream, usage, model } = outcome;
  addEndToLogLine(c.get('entry').line, outcome, nanodollars);
  if (outcome.outcome === 'classified') {
    const body = { ...outcome.result, usage, cost_usd: toUsd(nanodollars), model };
    return respondWithCostHeader(body, nanodollars, context, { ...outcome.headers, ...createEndHeaders(upstream) });
  }
  const { error } = outcome;
  const headers = {
    ...outcome.headers,
    ...error.headers,
    ...createSimulatorHeader(context),
    ...createEndHeaders(upstream, nanodollars),
  };
  throw new ApiError(error.type, error.message, { ...error, headers, cause: error });
}

/** Yields a result for each input, and the summary at the end. */
async function* streamItemResults(
  c: Context<AppEnv>,
  task: ClassificationTask,
  items: readonly { id?: string | undefined; input?: unknown }[],
  context: ClassifyContext,
): AsyncGenerator<StreamedResult, void, undefined> {
  const total = new CostTotal();
  let index = 0;
  for await (const outcome of classifyInputsInOrder(
    task,
    items.map(({ input }) => input),
    context,
  )) {
    total.addCost(outcome);
    const id = items[index]?.id;
    index += 1;
    yield { type: 'result', ...(id === undefined ? {} : { id }), ...toItemResult(task, outcome) };
  }
  addEndToLogLine(c.get('entry').line, total, total.nanodollars);
  yield { type: 'summary', usage: total.usage, cost_usd: toUsd(total.nanodollars), model: task.model };
}

/** An input without a label, and why. */
type UnclassifiedInput = Pick<NotClassified, 'outcome'> & { error: { type: string; message: string } };

/** @returns the result of one of several inputs, as it is sent */
export function toItemResult(
  {
    classifier: { multi, schema, fields },
  }: { classifier: Pick<ClassificationTask['classifier'], 'multi' | 'schema' | 'fields'> },
  outcome: Pick<LabelledOutcome, 'outcome' | 'result'> | UnclassifiedInput,
): Omit<ClassifyResult, 'id'> {
  if (outcome.outcome === 'classified') return { ...outcome.result, error: null };
  const { type, message } = outcome.error;
  const none = multi ? { labels: null } : { label: null };
  return {
    ...none,
    ...(fields && { fields: null }),
    ...(schema && { output: null }),
    cached: false,
    error: { type, message },
  };
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
      if (type === 'summary')
        return respondWithCostHeader(combine(list, rest), usdToNanodollars(Number(rest.cost_usd)), context);
      list.push(rest);
    }
    throw new ApiError('api_error', 'The results of the classification ended early. Try again.');
  }
  const entry = c.get('entry');
  entry.expectLaterEnd();
  const response = createResultStreamResponse(c, format, results, () => entry.endAndWriteLine());
  for (const [name, value] of Object.entries(createSimulatorHeader(context))) response.headers.set(name, value);
  return response;
}

/** @returns an answer as JSON, with its cost in a header */
function respondWithCostHeader(
  body: object,
  cost: Nanodollars,
  context: ClassifyContext,
  headers: Record<string, string> = {},
): Response {
  return Response.json(body, {
    headers: { ...headers, ...createSimulatorHeader(context), ...createEndHeaders(undefined, cost) },
  });
}

/** @returns the header that marks a simulated response, so that it is not mistaken for Claude's */
function createSimulatorHeader({ upstream }: ClassifyContext): Record<string, string> {
  const { isSimulated: simulated, pool } = upstream;
  const isAll = pool?.all.every((one) => one.isSimulated) ?? simulated;
  return isAll ? { 'sluice-upstream': 'simulator' } : {};
}

/** The fields of a restricted token's request that are used. The classifier determines all others. */
const RESTRICTED_REQUEST_FIELDS: ReadonlySet<string> = new Set(['classifier', 'input', 'inputs', 'stream']);

/**
 * Finds the classifier that a request with a restricted token names.
 *
 * @returns the owner in whose list to find it; undefined for a caller whose token is not restricted
 * @throws ApiError 403 for a classifier that the token may not use, and for fields that would change the classifier
 */
function resolveRestrictedClassifier(
  { account, only }: Identity,
  members: Readonly<Record<string, unknown>>,
  headers: Headers,
): ResolvedRestrictedName | undefined {
  if (!only) return undefined;
  rejectFieldsNotAllowed(Object.keys(removeUndefined(members)), RESTRICTED_REQUEST_FIELDS, 'classifier');
  if (headers.has('sluice-prefix'))
    throw createRestrictedTokenError(
      'sluice-prefix: not supported here, because the classifier determines the prompt. Remove the header.',
    );
  const found = resolveRestrictedName(only.classifiers, account, String(members.classifier));
  if (found) return found;
  throw createRestrictedTokenError(`classifier: ${describeAllowedNames('classifiers', only.classifiers)}`);
}
