/**
 * Labels one text and pays for it: cache, admission, call, correction, votes, settlement. Both the routes and the
 * consumer of webhooks use it.
 */

import { ApiError, invalidRequest } from '../../kit/http/errors.ts';
import { cacheAnswer, hashAnswer, readCachedAnswer } from '../../kit/kv/cached-answers.ts';
import { MAX_INPUT_BYTES } from '../classify.schema.ts';
import type { ClassifyUsage, KeptAnswer } from '../classify-answers.schema.ts';
import { ConcurrencyLimiter } from './concurrency-limiter.ts';
import { CostTotal } from './cost-total.ts';
import { type FailedCall, type NotClassified, noLabelError } from './failure.ts';
import type { Choice } from './prompt.ts';
import { type Call, type ClassifyContext, takeVote } from './take-vote.ts';
import type { Task } from './task.ts';

export interface Classified {
  outcome: 'classified';
  result: KeptAnswer & { cached: boolean };
}

/** The outcome for one input, and the cost of all its calls; the names are those of the last one. */
export type ClassificationResult = (Classified | NotClassified) & Omit<Call, 'usage'> & { usage: ClassifyUsage };

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
export async function classify(task: Task, input: unknown, context: ClassifyContext): Promise<ClassificationResult> {
  const { votes, cacheSeconds } = task;
  const { account } = context.identity;
  const wrong = findInputError(input);
  if (wrong || typeof input !== 'string')
    return toUnclassified(task, { reason: 'input', error: wrong ?? notTextError() }, []);
  const hash = cacheSeconds === 0 ? undefined : await hashTask(task, input);
  const earlier = hash === undefined ? undefined : await readCachedAnswer<KeptAnswer>(context.store, account, hash);
  if (earlier) return toClassified(task, { ...earlier, cached: true }, []);
  const limiter = context.limiter ?? createLimiter();
  const answers = await Promise.all(
    Array.from({ length: votes }, () => takeVote(task, input, { ...context, limiter })),
  );
  const calls = answers.flatMap((one) => one.calls);
  const choices = answers.flatMap(({ choice }) => choice ?? []);
  if (choices.length === 0) {
    const failure = answers.flatMap((one) => one.failure ?? [])[0];
    return toUnclassified(task, failure ?? { reason: 'answer', error: noLabelError('there was none') }, calls);
  }
  const result = electLabels(task, choices);
  // If some votes failed, or another model stepped in, the answer is not kept: another try may give a better one.
  const isOfModel = calls.every(({ model }) => model === task.model);
  if (hash !== undefined && choices.length === votes && isOfModel) {
    context.waitUntil(cacheAnswer(context.store, account, hash, result, cacheSeconds));
  }
  return toClassified(task, { ...result, cached: false }, calls);
}

/** @returns the key of the answer to an input: a hash of everything that decides the answer */
function hashTask({ classifier, model, prefix, votes }: Task, input: string): Promise<string> {
  const { description: _, cache_seconds: __, model: ___, votes: ____, ...deciding } = classifier;
  return hashAnswer([deciding, model, prefix ?? null, votes, input]);
}

/** @returns why an input cannot be labelled; undefined for one that can */
export function findInputError(input: unknown): ApiError | undefined {
  if (typeof input !== 'string') return notTextError();
  if (input.trim() === '') return invalidRequest('input: it is empty. Send the text that is to be labelled.');
  // A UTF-16 unit becomes at most three bytes, so most inputs need not be encoded to be measured.
  const isLong = input.length * 3 > MAX_INPUT_BYTES && new TextEncoder().encode(input).length > MAX_INPUT_BYTES;
  if (!isLong) return undefined;
  return new ApiError('request_too_large', `input: it is longer than ${MAX_INPUT_BYTES} bytes. Send a part of it.`);
}

function notTextError(): ApiError {
  return invalidRequest('input: Input should be a valid string');
}

/** @returns the labels that most answers agree on. If several are equally frequent, those that came first */
export function electLabels(
  { classifier: { multi }, votes }: Pick<Task, 'classifier' | 'votes'>,
  choices: readonly Choice[],
): KeptAnswer {
  const counts = new Map<string, number>();
  const keyOf = ({ labels }: Choice) => JSON.stringify(labels);
  for (const choice of choices) counts.set(keyOf(choice), (counts.get(keyOf(choice)) ?? 0) + 1);
  const most = Math.max(...counts.values());
  const chosen = choices.find((choice) => counts.get(keyOf(choice)) === most);
  const { labels = [], fields = null, output } = chosen ?? {};
  return {
    ...(multi ? { labels } : { label: labels[0] ?? null }),
    // The share is of all votes that were asked for, so votes that failed lower it.
    confidence: votes === 1 ? null : most / votes,
    fields,
    ...(output && { output }),
  };
}

function toClassified(task: Task, result: Classified['result'], calls: readonly Call[]): ClassificationResult {
  return { outcome: 'classified', result, ...sumCalls(task, calls) };
}

function toUnclassified(task: Task, failure: FailedCall, calls: readonly Call[]): ClassificationResult {
  return { outcome: 'unclassified', ...failure, ...sumCalls(task, calls) };
}

function sumCalls({ model: named }: Task, calls: readonly Call[]) {
  const { usage, nanodollars } = calls.reduce((total, call) => total.add(call), new CostTotal());
  const { model = named, headers = {}, upstream_request_id, upstream } = calls.at(-1) ?? {};
  return { model, usage, nanodollars, headers, upstream_request_id, upstream };
}
