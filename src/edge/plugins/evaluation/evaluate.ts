/** Evaluates a classifier on examples whose labels are known. */

import type { ClassificationResult } from '../../classify/task/classify.ts';
import { classifyInputsInOrder } from '../../classify/task/classify-all.ts';
import { CostTotal } from '../../classify/task/cost-total.ts';
import type { FailureReason } from '../../classify/task/failure.ts';
import { toLabelList, validateExampleLabels } from '../../classify/task/labels.ts';
import type { ClassifyContext } from '../../classify/task/take-vote.ts';
import type { ClassificationTask } from '../../classify/task/task.ts';
import { toUsd } from '../../claude/pricing/cost.ts';
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import type { EvaluateRequest } from './evaluation.schema.ts';
import type { EvaluationReport } from './evaluation-answers.schema.ts';
import { computeMetrics, hasSameLabels, type ScoredExample } from './metrics.ts';

/** An example. `expected` has its labels as a list, which is empty for no label. */
export interface EvaluationExample {
  id: string;
  input: string;
  expected: readonly string[];
}

export type EvaluationEvent =
  /** After each example. */
  | { type: 'progress'; done: number; of: number }
  /** At the end. */
  | { type: 'report'; report: Omit<EvaluationReport, 'type' | 'name'>; total: CostTotal };

/** Failures that are caused by the budget, the network or the deployment, and not by the classifier. */
const NOT_SCORED: ReadonlySet<FailureReason> = new Set(['limited', 'unavailable', 'operator', 'cancelled']);

/**
 * Checks the examples of a request against the labels of a classifier.
 *
 * @returns the examples, each with an id and its labels as a list
 * @throws ApiError 400 for an example whose label the classifier does not have
 */
export function parseExamples(
  list: EvaluateRequest['examples'],
  { classifier, version = '' }: ClassificationTask,
): EvaluationExample[] {
  const examples = list.map((example, index) => {
    const path = `examples.${index}`;
    const { id, input } = example;
    const expected = validateExampleLabels(example, path, classifier, version);
    if (input.trim() === '') throw createInvalidRequestError(`${path}.input: must not be empty.`);
    return { id: id ?? String(index), input, expected };
  });
  if (new Set(examples.map(({ id }) => id)).size < examples.length) {
    throw createInvalidRequestError('examples: each id must be unique.');
  }
  return examples;
}

/** Evaluates a classifier on all examples. No answer comes from the cache. */
export async function* evaluateClassifier(
  task: ClassificationTask,
  examples: readonly EvaluationExample[],
  by: ClassifyContext,
): AsyncGenerator<EvaluationEvent, void, undefined> {
  const outcomes: ClassificationResult[] = [];
  const fresh = { ...task, cacheSeconds: 0 };
  const inputs = examples.map(({ input }) => input);
  for await (const outcome of classifyInputsInOrder(fresh, inputs, by)) {
    outcomes.push(outcome);
    yield { type: 'progress', done: outcomes.length, of: examples.length };
  }
  const total = new CostTotal();
  for (const outcome of outcomes) total.addCost(outcome);
  yield { type: 'report', report: createReport(task, examples, outcomes, total), total };
}

/** @returns the report on a classifier, from its outcomes in the order of the examples */
function createReport(
  task: ClassificationTask,
  examples: readonly EvaluationExample[],
  outcomes: readonly ClassificationResult[],
  total: CostTotal,
): Omit<EvaluationReport, 'type' | 'name'> {
  const { classifier, version = '', model } = task;
  const judged: ScoredExample[] = [];
  const mistakes: EvaluationReport['mistakes'] = [];
  const skipped: EvaluationReport['skipped'] = [];
  for (const [index, outcome] of outcomes.entries()) {
    const example = examples[index];
    if (!example) continue;
    const { id, input, expected } = example;
    if (outcome.outcome === 'unclassified' && NOT_SCORED.has(outcome.reason)) {
      const { type, message } = outcome.error;
      skipped.push({ id, error: { type, message } });
      continue;
    }
    const { given, confidence } = toScoredOutcome(outcome);
    judged.push({ expected, given });
    const isRight = given !== null && hasSameLabels(expected, given);
    if (!isRight) mistakes.push({ id, input, expected: [...expected], given: given && [...given], confidence });
  }
  const names = classifier.labels.map(({ name }) => name);
  const perThousand = judged.length === 0 ? null : toUsd(Math.round((total.nanodollars * 1_000) / judged.length));
  return {
    version,
    model,
    ...computeMetrics(judged, names, classifier.multi),
    mistakes,
    skipped,
    usage: total.usage,
    cost_usd: toUsd(total.nanodollars),
    cost_per_thousand_usd: perThousand,
  };
}

function toScoredOutcome(outcome: ClassificationResult): {
  given: readonly string[] | null;
  confidence: number | null;
} {
  if (outcome.outcome !== 'classified') return { given: null, confidence: null };
  return { given: toLabelList(outcome.result), confidence: outcome.result.confidence ?? null };
}
