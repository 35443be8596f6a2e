/** Computes how good a classifier is from the labels that were expected and the labels that were given. No I/O. */
import type { EvaluationReport } from './evaluation-answers.schema.ts';

/** The labels of one example. Without `multi` a list has one label, or is empty for no label. */
export interface ScoredExample {
  expected: readonly string[];
  /** null: the model gave no valid answer, which counts as wrong. */
  given: readonly string[] | null;
}

type ClassifierMetrics = Pick<EvaluationReport, 'examples' | 'accuracy' | 'macro_f1' | 'labels' | 'confusion'>;

/**
 * Computes the metrics of a classifier.
 *
 * @param labels all labels of the classifier, in its order
 * @param multi whether an example can have several labels
 */
export function computeMetrics(
  judged: readonly ScoredExample[],
  labels: readonly string[],
  multi: boolean,
): ClassifierMetrics {
  const perLabel = labels.map((label) => computeLabelMetrics(label, judged));
  const right = judged.filter(({ expected, given }) => given !== null && hasSameLabels(expected, given)).length;
  return {
    examples: judged.length,
    accuracy: computeRatio(right, judged.length),
    macro_f1: computeMean(perLabel.flatMap(({ f1 }) => f1 ?? [])),
    labels: perLabel,
    confusion: multi ? null : computeConfusionMatrix(judged, labels),
  };
}

function computeLabelMetrics(label: string, judged: readonly ScoredExample[]): ClassifierMetrics['labels'][number] {
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
    precision: computeRatio(tp, tp + fp),
    recall: computeRatio(tp, tp + fn),
    f1: computeRatio(2 * tp, 2 * tp + fp + fn),
  };
}

function computeConfusionMatrix(
  judged: readonly ScoredExample[],
  labels: readonly string[],
): ClassifierMetrics['confusion'] {
  const isUsed = judged.some(({ expected, given }) => expected.length === 0 || given?.length === 0);
  const names = isUsed ? [...labels, null] : [...labels];
  return names.map((expected) => {
    const rows = judged.filter((one) => (one.expected[0] ?? null) === expected);
    const countLabelConfusions = (label: string | null) =>
      rows.filter(({ given }) => given !== null && (given[0] ?? null) === label).length;
    return {
      expected,
      given: names.map((label) => ({ label, count: countLabelConfusions(label) })),
      unanswered: rows.filter(({ given }) => given === null).length,
    };
  });
}

/** @returns whether two lists have the same labels, in any order */
export function hasSameLabels(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((label) => right.includes(label));
}

function computeRatio(part: number, total: number): number | null {
  return total === 0 ? null : part / total;
}

function computeMean(values: readonly number[]): number | null {
  return computeRatio(
    values.reduce((sum, value) => sum + value, 0),
    values.length,
  );
}
