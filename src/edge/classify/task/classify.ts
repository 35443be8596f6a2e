/**
 * Labels one text and pays for it: cache, admission, call, correction, votes, settlement. Both the routes and the
 * consumer of webhooks use it.
 */

import { ApiError, createInvalidRequestError } from '../../kit/http/errors.ts';
import { cacheAnswer, computeCachedAnswerId, readCachedAnswer } from '../../kit/kv/cached-answers.ts';
import { MAX_INPUT_BYTES } from '../classify.schema.ts';
import type { CacheableClassification, ClassifyUsage } from '../classify-answers.schema.ts';
import { ConcurrencyLimiter } from './concurrency-limiter.ts';
import { CostTotal } from './cost-total.ts';
import { createNoUsableLabelError, type FailedCall, type NotClassified } from './failure.ts';
import type { ChosenLabels } from './prompt.ts';
import { type ClassifyContext, type ModelCallCost, requestVote } from './take-vote.ts';
import type { ClassificationTask } from './task.ts';

export interface LabelledOutcome {
  outcome: 'classified';
  result: CacheableClassification & { cached: boolean };
}

/** The outcome for one input, and the cost of all its calls; the names are those of the last one. */
export type ClassificationResult = (LabelledOutcome | NotClassified) &
  Omit<ModelCallCost, 'usage'> & { usage: ClassifyUsage };

/** A Worker can have six connections at a time. */
const MAX_CONCURRENT_CALLS = 6;

/** @returns a limiter for all the calls of one request */
export function createLimiter(): ConcurrencyLimiter {
  return new ConcurrencyLimiter(MAX_CONCURRENT_CALLS);
}

/**
 * Labels one text. A fault of the input or of the upstream is returned as an outcome, and not thrown. When this resolves,
 * each call is settled, or is left to the account's alarm.
 *
 * @param input anything; what is not a text gets an error as its outcome
 */
export async function classifyText(
  task: ClassificationTask,
  input: unknown,
  context: ClassifyContext,
): Promise<ClassificationResult> {
  const { votes, cacheSeconds } = task;
  const { account } = context.identity;
  const wrong = validateClassificationInput(input);
  if (wrong || typeof input !== 'string')
    return toUnlabelledResult(task, { reason: 'input', error: wrong ?? createNotTextError() }, []);
  const hash = cacheSeconds === 0 ? undefined : await computeClassificationCacheKey(task, input);
  const earlier =
    hash === undefined ? undefined : await readCachedAnswer<CacheableClassification>(context.store, account, hash);
  if (earlier) return toLabelledResult(task, { ...earlier, cached: true }, []);
  const limiter = context.limiter ?? createLimiter();
  const answers = await Promise.all(
    Array.from({ length: votes }, () => requestVote(task, input, { ...context, limiter })),
  );
  const calls = answers.flatMap((one) => one.calls);
  const choices = answers.flatMap(({ choice }) => choice ?? []);
  if (choices.length === 0) {
    const failure = answers.flatMap((one) => one.failure ?? [])[0];
    return toUnlabelledResult(
      task,
      failure ?? { reason: 'answer', error: createNoUsableLabelError('the response was empty') },
      calls,
    );
  }
  const result = chooseMajorityLabels(task, choices);
  // Do not cache the answer if votes failed or a fallback model answered: a retry may give a better one.
  const isOfModel = calls.every(({ model }) => model === task.model);
  if (hash !== undefined && choices.length === votes && isOfModel) {
    context.waitUntil(cacheAnswer(context.store, account, hash, result, cacheSeconds));
  }
  return toLabelledResult(task, { ...result, cached: false }, calls);
}

/** @returns the key of the answer to an input: a hash of everything that decides the answer */
function computeClassificationCacheKey(
  { classifier, model, prefix, votes }: ClassificationTask,
  input: string,
): Promise<string> {
  const { description: _, cache_seconds: __, model: ___, votes: ____, ...deciding } = classifier;
  return computeCachedAnswerId([deciding, model, prefix ?? null, votes, input]);
}

/** @returns why an input cannot be labelled; undefined for one that can */
export function validateClassificationInput(input: unknown): ApiError | undefined {
  if (typeof input !== 'string') return createNotTextError();
  if (input.trim() === '') return createInvalidRequestError('input: must not be empty. Send the text to label.');
  // A UTF-16 code unit takes at most three bytes in UTF-8, so most inputs need not be encoded to check their size.
  const isLong = input.length * 3 > MAX_INPUT_BYTES && new TextEncoder().encode(input).length > MAX_INPUT_BYTES;
  if (!isLong) return undefined;
  return new ApiError('request_too_large', `input: longer than ${MAX_INPUT_BYTES} bytes. Send a shorter text.`);
}

function createNotTextError(): ApiError {
  return createInvalidRequestError('input: Input should be a valid string');
}

/** @returns the labels that most answers agree on. If several are equally frequent, those that came first */
export function chooseMajorityLabels(
  { classifier: { multi }, votes }: Pick<ClassificationTask, 'classifier' | 'votes'>,
  choices: readonly ChosenLabels[],
): CacheableClassification {
  const counts = new Map<string, number>();
  const toVoteKey = ({ labels }: ChosenLabels) => JSON.stringify(labels);
  for (const choice of choices) counts.set(toVoteKey(choice), (counts.get(toVoteKey(choice)) ?? 0) + 1);
  const most = Math.max(...counts.values());
  const chosen = choices.find((choice) => counts.get(toVoteKey(choice)) === most);
  const { labels = [], fields, output } = chosen ?? {};
  return {
    ...(multi ? { labels } : { label: labels[0] ?? null }),
    // Divide by the number of requested votes, so that failed votes lower the confidence.
    ...(votes > 1 && { confidence: most / votes }),
    ...(fields && { fields }),
    ...(output && { output }),
  };
}

function toLabelledResult(
  task: ClassificationTask,
  result: LabelledOutcome['result'],
  calls: readonly ModelCallCost[],
): ClassificationResult {
  return { outcome: 'classified', result, ...sumCallCosts(task, calls) };
}

function toUnlabelledResult(
  task: ClassificationTask,
  failure: FailedCall,
  calls: readonly ModelCallCost[],
): ClassificationResult {
  return { outcome: 'unclassified', ...failure, ...sumCallCosts(task, calls) };
}

function sumCallCosts({ model: named }: ClassificationTask, calls: readonly ModelCallCost[]) {
  const { usage, nanodollars } = calls.reduce((total, call) => total.addCost(call), new CostTotal());
  const { model = named, headers = {}, upstream_request_id, upstream } = calls.at(-1) ?? {};
  return { model, usage, nanodollars, headers, upstream_request_id, upstream };
}
