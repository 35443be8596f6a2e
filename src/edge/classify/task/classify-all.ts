/** Labels many texts: several at a time, results in their order, each text paid for by itself. */

import { type ClassificationResult, classifyText, createLimiter } from './classify.ts';
import { CostTotal } from './cost-total.ts';
import type { ClassifyContext } from './take-vote.ts';
import type { ClassificationTask } from './task.ts';

/** How many inputs are in work at a time. Their calls share one limiter. */
const CONCURRENT_INPUTS = 24;

/**
 * Labels inputs. Of equal inputs only the first is sent, and the others share its answer, unless `cacheSeconds` is 0.
 *
 * @param context the first call has its request id, and later ones have it with a number
 * @returns the outcomes in the order of the inputs; a fault of one input is its outcome, and not thrown
 */
export async function* classifyInputsInOrder(
  task: ClassificationTask,
  inputs: readonly unknown[],
  context: ClassifyContext,
): AsyncGenerator<ClassificationResult, void, undefined> {
  const limiter = context.limiter ?? createLimiter();
  const firsts = new Map<unknown, Promise<ClassificationResult>>();
  const classifyOrShare = async (input: unknown): Promise<ClassificationResult> => {
    const classifyInput = () => classifyText(task, input, { ...context, limiter });
    const first = firsts.get(input);
    if (first !== undefined) return toResultForDuplicateInput(await first) ?? (await classifyInput());
    const opening = classifyInput();
    if (task.cacheSeconds > 0) firsts.set(input, opening);
    return await opening;
  };
  yield* mapConcurrentlyInOrder(inputs, CONCURRENT_INPUTS, classifyOrShare);
}

/** @returns the outcome for an equal input, which costs nothing; undefined if the first one has no label */
function toResultForDuplicateInput(first: ClassificationResult): ClassificationResult | undefined {
  if (first.outcome !== 'classified') return undefined;
  return { ...first, ...new CostTotal(), headers: first.headers, result: { ...first.result, cached: true } };
}

/** Works on `ahead` items at a time and yields the results in order. `work` must not reject. */
async function* mapConcurrentlyInOrder<T, R>(
  items: readonly T[],
  ahead: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R, void, undefined> {
  const running: Promise<R>[] = [];
  let next = 0;
  while (running.length > 0 || next < items.length) {
    for (; running.length < ahead && next < items.length; next += 1) running.push(work(items[next] as T));
    const first = running.shift();
    if (first !== undefined) yield await first;
  }
}
