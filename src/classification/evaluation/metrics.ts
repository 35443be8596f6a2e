/** Computes how good a classifier is from the labels that were expected and the labels that were given. No I/O. */

/** The labels of one example. Without `multi` a list has one label, or is empty for no label. */
export interface Judged {
  expected: readonly string[];
  /** null: the model gave no valid answer, which counts as wrong. */
  given: readonly string[] | null;
}

/** The metrics of one label: how often it was given rightly, given wrongly, and missing. */
export interface LabelMetrics {
  label: string;
  /** Examples that have it. */
  support: number;
  true_positives: number;
  false_positives: number;
  false_negatives: number;
  /** null: it was never given. */
  precision: number | null;
  /** null: no example has it. */
  recall: number | null;
  /** null: it was never given, and no example has it. */
  f1: number | null;
}

/** A row of the confusion matrix: for the examples of one label, how often each was given. */
export interface ConfusionRow {
  expected: string | null;
  given: { label: string | null; count: number }[];
  /** How many had no valid answer. */
  unanswered: number;
}

export interface Metrics {
  examples: number;
  /** The share of examples whose labels are exactly those expected, from 0 to 1; null without examples. */
  accuracy: number | null;
  /** The mean F1 of the labels that have one. */
  macro_f1: number | null;
  labels: LabelMetrics[];
  /** null with `multi`: an example with several labels has no single row. */
  confusion: ConfusionRow[] | null;
}

/**
 * Computes the metrics of a classifier.
 *
 * @param labels all labels of the classifier, in its order
 * @param multi whether an example can have several labels
 */
export function metricsOf(judged: readonly Judged[], labels: readonly string[], multi: boolean): Metrics {
  const perLabel = labels.map((label) => labelMetrics(label, judged));
  const right = judged.filter(({ expected, given }) => given !== null && isSameLabel(expected, given)).length;
  return {
    examples: judged.length,
    accuracy: ratio(right, judged.length),
    macro_f1: mean(perLabel.flatMap(({ f1 }) => f1 ?? [])),
    labels: perLabel,
    confusion: multi ? null : confusionOf(judged, labels),
  };
}

function labelMetrics(label: string, judged: readonly Judged[]): LabelMetrics {
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

function confusionOf(judged: readonly Judged[], labels: readonly string[]): ConfusionRow[] {
  const isUsed = judged.some(({ expected, given }) => expected.length === 0 || given?.length === 0);
  const names = isUsed ? [...labels, null] : [...labels];
  return names.map((expected) => {
    const rows = judged.filter((one) => (one.expected[0] ?? null) === expected);
    const count = (label: string | null) =>
      rows.filter(({ given }) => given !== null && (given[0] ?? null) === label).length;
    return {
      expected,
      given: names.map((label) => ({ label, count: count(label) })),
      unanswered: rows.filter(({ given }) => given === null).length,
    };
  });
}

function isSameLabel(left: readonly string[], right: readonly string[]): boolean {
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
