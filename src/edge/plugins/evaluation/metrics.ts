/** Computes how good a classifier is from the labels that were expected and the labels that were given. No I/O. */
import type { EvaluationReport } from './evaluation-answers.schema.ts';

/** The labels of one example. Without `multi` a list has one label, or is empty for no label. */
export interface ScoredExample {
  expected: readonly string[];
  /** null: the model gave no valid answer, which counts as wrong. */
  given: readonly string[] | null;
}

type Metrics = Pick<EvaluationReport, 'examples' | 'accuracy' | 'macro_f1' | 'labels' | 'confusion'>;

/**
 * Computes the metrics of a classifier.
 *
 * @param labels all labels of the classifier, in its order
 * @param multi whether an example can have several labels
 */
export function computeMetrics(judged: readonly ScoredExample[], labels: readonly string[], multi: boolean): Metrics {
  const perLabel = labels.map((label) => computeLabelMetrics(label, judged));
  const right = judged.filter(({ expected, given }) => given !== null && hasSameLabels(expected, given)).length;
  return {
    examples: judged.length,
    accuracy: ratio(right, judged.length),
    macro_f1: mean(perLabel.flatMap(({ f1 }) => f1 ?? [])),
    labels: perLabel,
    confusion: multi ? null : computeConfusion(judged, labels),
  };
}

function computeLabelMetrics(label: string, judged: readonly ScoredExample[]): Metrics['labels'][number] {
  let [tp, fp, fn] = [0, 0, 0];
  for (const { expected, given } of judged) {
    const isGiven = given?.includes(label) ?? false;
    const isExpected = expected.includes(label);
    if (isExpected && isGiven) tp += 1;
    else if (isExpected) fn += 1;
    else if (isGiven) fp += 1;
  }
  return {
    label,
    support: tp + fn,
    true_positives: tp,
    false_positives: fp,
    false_negatives: fn,
    precision: ratio(tp, tp + fp),
    recall: ratio(tp, tp + fn),
    f1: ratio(2 * tp, 2 * tp + fp + fn),
  };
}

function computeConfusion(judged: readonly ScoredExample[], labels: readonly string[]): Metrics['confusion'] {
  const isUsed = judged.some(({ expected, given }) => expected.length === 0 || given?.length === 0);
  const names = isUsed ? [...labels, null] : [...labels];
  return names.map((expected) => {
    const rows = judged.filter((one) => (one.expected[0] ?? null) === expected);
    const countConfused = (label: string | null) =>
      rows.filter(({ given }) => given !== null && (given[0] ?? null) === label).length;
    return {
      expected,
      given: names.map((label) => ({ label, count: countConfused(label) })),
      unanswered: rows.filter(({ given }) => given === null).length,
    };
  });
}

/** @returns whether two lists have the same labels, in any order */
export function hasSameLabels(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((label) => right.includes(label));
}

function ratio(part: number, total: number): number | null {
  return total === 0 ? null : part / total;
}

function mean(values: readonly number[]): number | null {
  return ratio(
    values.reduce((sum, value) => sum + value, 0),
    values.length,
  );
}
