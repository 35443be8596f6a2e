/** Labels many texts: some at a time, in their order, each paid for by itself. */

import { createRequestId } from '../../http/request-id.ts';
import type { Nanodollars } from '../../pricing/cost.ts';
import type { ClassifyUsage } from '../classify-answers.schema.ts';
import type { Classifying } from './call.ts';
import { type ClassificationResult, classify, createLimiter } from './classify.ts';
import type { Task } from './task.ts';

/** Inputs that are begun before those ahead of them have ended; what they ask for goes through one gate. */
const AHEAD = 24;

/** What several inputs have cost together. */
export class Total {
  nanodollars: Nanodollars = 0;
  readonly usage: ClassifyUsage = {
    input_tokens: 0,
    output_tokens: 0,
    cache_read_input_tokens: 0,
    cache_creation_input_tokens: 0,
  };

  add({ nanodollars, usage }: Pick<ClassificationResult, 'nanodollars' | 'usage'>): void {
    this.nanodollars += nanodollars;
    for (const kind of Object.keys(this.usage) as (keyof ClassifyUsage)[]) this.usage[kind] += usage[kind];
  }
}

/**
 * Labels inputs. Of equal ones the first is asked for and the others share its answer, where answers may be kept at all.
 *
 * @param by its request id is that of the first input's first call
 * @returns their outcomes in their order; never rejects for what can happen to one of them
 */
export async function* classifyAll(
  task: Task,
  inputs: readonly unknown[],
  by: Classifying,
): AsyncGenerator<ClassificationResult, void, undefined> {
  const gate = by.gate ?? createLimiter();
  const firsts = new Map<unknown, Promise<ClassificationResult>>();
  const begin = async (input: unknown, index: number): Promise<ClassificationResult> => {
    const one = () => classify(task, input, { ...by, gate, requestId: index === 0 ? by.requestId : createRequestId() });
    const first = firsts.get(input);
    if (first !== undefined) return sharedResult(await first) ?? (await one());
    const asked = one();
    if (task.cacheSeconds > 0) firsts.set(input, asked);
    return await asked;
  };
  yield* inOrder(inputs, AHEAD, begin);
}

/** @returns an outcome as whoever asks again gets it: for nothing; undefined where there is no label to share */
function sharedResult(first: ClassificationResult): ClassificationResult | undefined {
  if (first.outcome !== 'classified') return undefined;
  return { ...first, ...new Total(), headers: first.headers, result: { ...first.result, cached: true } };
}

/** Begins with so many, and with each result that is taken with one more. `work` must not reject. */
async function* inOrder<T, R>(
  items: readonly T[],
  ahead: number,
  work: (item: T, index: number) => Promise<R>,
): AsyncGenerator<R, void, undefined> {
  const begun: Promise<R>[] = [];
  let next = 0;
  while (begun.length > 0 || next < items.length) {
    for (; begun.length < ahead && next < items.length; next += 1) begun.push(work(items[next] as T, next));
    const first = begun.shift();
    if (first !== undefined) yield await first;
  }
}
