import { createInvalidRequestError } from '../../kit/http/errors.ts';
import type { ClassifierLabel } from '../classifiers.schema.ts';

/** Something with the label or the labels of a text, in the form of the answers. */
interface LabelledItem {
  label?: string | null | undefined;
  labels?: readonly string[] | undefined;
}

/** @returns its labels as a list, which is empty for no label */
export function toLabelList({ label, labels }: LabelledItem): readonly string[] {
  return labels ?? (label === null || label === undefined ? [] : [label]);
}

/**
 * Checks the labels of an example.
 *
 * @param path where the example stands in its request
 * @param name what an error calls the classifier
 * @returns the labels as a list, each once
 * @throws ApiError 400 for what the classifier cannot answer
 */
export function validateExampleLabels(
  example: LabelledItem,
  path: string,
  { labels, multi, allow_none }: { labels: readonly ClassifierLabel[]; multi: boolean; allow_none: boolean },
  name: string,
): readonly string[] {
  const [wanted, other] = multi ? (['labels', 'label'] as const) : (['label', 'labels'] as const);
  if (example[wanted] === undefined || example[other] !== undefined) {
    throw createInvalidRequestError(`${path}: requires \`${wanted}\`, like the results of ${name}.`);
  }
  const names = new Set(labels.map(({ name }) => name));
  const chosen = [...new Set(toLabelList(example))];
  const unknown = chosen.find((label) => !names.has(label));
  if (unknown !== undefined) {
    throw createInvalidRequestError(
      `${path}: ${JSON.stringify(unknown)} is not a label of ${name}. Use one of its labels, or add this label.`,
    );
  }
  if (chosen.length === 0 && !allow_none) {
    throw createInvalidRequestError(`${path}: has no label. Add one, or set \`allow_none\` in ${name}.`);
  }
  return chosen;
}
