/**
 * Has one text labelled, and pays for it: the cache, admission, the call, one correction, votes, settlement. Routes and
 * the consumer of webhooks come here alike.
 */

import { ApiError, invalidRequest } from '../../http/errors.ts';
import { answerHash, type KeptAnswer, keepAnswer, recallAnswer } from '../../kv/classified-answers.ts';
import type { Nanodollars } from '../../pricing/cost.ts';
import { MAX_INPUT_BYTES } from '../classify.schema.ts';
import type { ClassifyUsage } from '../classify-answers.schema.ts';
import { type Call, type Classifying, vote } from './call.ts';
import { ConcurrencyLimiter } from './concurrency-limiter.ts';
import { type FailedCall, type NotClassified, unlabelled } from './failure.ts';
import type { Choice } from './prompt.ts';
import type { Task } from './task.ts';

interface Classified {
  outcome: 'classified';
  result: KeptAnswer & { cached: boolean };
}

/** What became of one input, and what it cost, all calls together. */
export type ClassificationResult = (Classified | NotClassified) & {
  model: string;
  usage: ClassifyUsage;
  nanodollars: Nanodollars;
  /** Where the account stands, for a response. */
  headers: Record<string, string>;
  /** The upstream's name for the last call. */
  upstreamRequestId: string | undefined;
};

/** A Worker has six connections at once. */
const CALLS_AT_ONCE = 6;

/** @returns what limits the calls of a request */
export function createLimiter(): ConcurrencyLimiter {
  return new ConcurrencyLimiter(CALLS_AT_ONCE);
}

/**
 * Labels one text. Never rejects for what can happen to one input: it says it. When it resolves, each call that it made
 * has been settled, or is left to the account's alarm.
 *
 * @param input anything: what is no text is an error of its own
 */
export async function classify(task: Task, input: unknown, by: Classifying): Promise<ClassificationResult> {
  const { votes, cacheSeconds } = task;
  const { account } = by.identity;
  const wrong = faultInInput(input);
  if (wrong || typeof input !== 'string')
    return failed(task, { reason: 'input', error: wrong ?? notText(), retryAt: null }, []);
  const hash = cacheSeconds === 0 ? undefined : await taskHash(task, input);
  const known = hash === undefined ? undefined : await recallAnswer(by.store, account, hash);
  if (known) return done(task, { ...known, cached: true }, []);
  const gate = by.gate ?? createLimiter();
  const answers = await Promise.all(
    Array.from({ length: votes }, (_, nth) => vote(task, input, { ...by, gate }, nth === 0 ? by.requestId : undefined)),
  );
  const calls = answers.flatMap((one) => one.calls);
  const choices = answers.flatMap(({ choice }) => choice ?? []);
  if (choices.length === 0) {
    const failure = answers.flatMap((one) => one.failure ?? [])[0];
    return failed(task, failure ?? { reason: 'answer', error: unlabelled('there was none'), retryAt: null }, calls);
  }
  const result = elected(task, choices);
  // What some of the votes did not come to say is not for ever so.
  if (hash !== undefined && choices.length === votes) {
    by.waitUntil(keepAnswer(by.store, account, hash, result, cacheSeconds));
  }
  return done(task, { ...result, cached: false }, calls);
}

function taskHash({ classifier, model, prefix, votes }: Task, input: string): Promise<string> {
  const { description: _, cache_seconds: __, model: ___, votes: ____, ...deciding } = classifier;
  return answerHash([deciding, model, prefix ?? null, votes, input]);
}

function faultInInput(input: unknown): ApiError | undefined {
  if (typeof input !== 'string') return notText();
  if (input.trim() === '') return invalidRequest('input: it is empty. Send the text that is to be labelled.');
  // A character has at most three bytes for each of its units: most inputs need not be encoded to be measured.
  const isLong = input.length * 3 > MAX_INPUT_BYTES && new TextEncoder().encode(input).length > MAX_INPUT_BYTES;
  if (!isLong) return undefined;
  return new ApiError('request_too_large', `input: it is longer than ${MAX_INPUT_BYTES} bytes. Send a part of it.`);
}

function notText(): ApiError {
  return invalidRequest('input: Input should be a valid string');
}

/** The labels that most answers agree on; among equals those that came first. */
function elected({ classifier: { multi }, votes }: Task, choices: readonly Choice[]): KeptAnswer {
  const counts = new Map<string, number>();
  const keyOf = ({ labels }: Choice) => JSON.stringify(labels);
  for (const choice of choices) counts.set(keyOf(choice), (counts.get(keyOf(choice)) ?? 0) + 1);
  const most = Math.max(...counts.values());
  const chosen = choices.find((choice) => counts.get(keyOf(choice)) === most);
  const { labels = [], fields = null } = chosen ?? {};
  return {
    ...(multi ? { labels } : { label: labels[0] ?? null }),
    // Votes that failed count against: the share is of all that were asked for.
    confidence: votes === 1 ? null : most / votes,
    fields,
  };
}

function done(task: Task, result: Classified['result'], calls: readonly Call[]): ClassificationResult {
  return { outcome: 'classified', result, ...totalCost(task, calls) };
}

function failed(task: Task, failure: FailedCall, calls: readonly Call[]): ClassificationResult {
  return { outcome: 'unclassified', ...failure, ...totalCost(task, calls) };
}

function totalCost({ model }: Task, calls: readonly Call[]) {
  const sum = (kind: keyof ClassifyUsage) => calls.reduce((total, { usage }) => total + Number(usage?.[kind] ?? 0), 0);
  return {
    model,
    usage: {
      input_tokens: sum('input_tokens'),
      output_tokens: sum('output_tokens'),
      cache_read_input_tokens: sum('cache_read_input_tokens'),
      cache_creation_input_tokens: sum('cache_creation_input_tokens'),
    },
    nanodollars: calls.reduce((total, { nanodollars }) => total + nanodollars, 0),
    headers: calls.at(-1)?.headers ?? {},
    upstreamRequestId: calls.at(-1)?.upstreamRequestId,
  };
}
