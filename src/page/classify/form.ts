/** Keeps the fields of the form, and the result. */

import { computed, signal } from '@preact/signals';
import type { ClassifierPut, ClassifyAnswer, NamedResourceRow } from '../../client/index.ts';
import { refreshSpentToday } from '../edge/account.ts';
import { AsyncAction } from '../edge/async-action.ts';
import { getClient } from '../edge/client.ts';
import { createTokenSignal } from '../edge/credential.ts';
import { createAccountSignal, identity, isRestricted, listRestrictedNames } from '../edge/identity.ts';
import { announceToScreenReader } from '../ui/announcer.tsx';
import type { ClassifySample } from './samples.ts';

export const formText = createAccountSignal('');
/** The labels: one in each line, with an optional description after a colon; or a JSON schema. */
export const labelsText = createAccountSignal('');
export const isMulti = signal(false);
export const isNoneAllowed = signal(false);
/** The name of a stored classifier; empty: the labels of the form are used. A restricted token begins with its first. */
export const chosenClassifier = signal('');
identity.subscribe(() => {
  chosenClassifier.value = listRestrictedNames('classifiers')[0] ?? '';
});
export const classifiers = createTokenSignal<NamedResourceRow[]>([]);
export const shownAnswer = createTokenSignal<ClassifyAnswer | undefined>(undefined);

/** The form that the shown result belongs to, as text. */
const answeredForm = createTokenSignal('');
/** Whether the form has changed since: the result is that of another text, or of other labels. */
export const isOutdated = computed(
  () => shownAnswer.value !== undefined && answeredForm.value !== serializeClassifyRequest(),
);

const formAction = new AsyncAction();
export const { isBusy: busy, fault: formFault } = formAction;

/** Reads the stored classifiers. A restricted token cannot: its classifiers are in the token itself. */
export async function refreshClassifiers(): Promise<void> {
  if (isRestricted()) return;
  classifiers.value = (await getClient().classifiers.list({ limit: 1_000 })).data;
}

export function fillFormWithSample(sample: ClassifySample): void {
  formText.value = sample.text;
  labelsText.value = sample.labels.join('\n');
  isMulti.value = sample.multi ?? false;
  isNoneAllowed.value = sample.allowNone ?? false;
  chosenClassifier.value = '';
}

export async function submitClassifyForm(): Promise<void> {
  await formAction.run(async () => {
    shownAnswer.value = undefined;
    answeredForm.value = serializeClassifyRequest();
    const by = chosenClassifier.value === '' ? parseFormToClassifier() : { classifier: chosenClassifier.value };
    shownAnswer.value = await getClient().classify({ ...by, input: formText.value });
    announceToScreenReader(`Classified as ${getResultLabels(shownAnswer.value).join(', ') || 'none of these'}.`);
    await refreshSpentToday();
  });
}

function serializeClassifyRequest(): string {
  const by =
    chosenClassifier.value === '' ? [labelsText.value, isMulti.value, isNoneAllowed.value] : chosenClassifier.value;
  return JSON.stringify([formText.value, by]);
}

/** Fills the form with a sample, and classifies it. */
export async function fillAndClassifySample(sample: ClassifySample): Promise<void> {
  fillFormWithSample(sample);
  await submitClassifyForm();
}

export async function storeFormAsClassifier(name: string): Promise<void> {
  await formAction.run(async () => {
    await getClient().classifiers.put(name, parseFormToClassifier());
    await refreshClassifiers();
    chosenClassifier.value = name;
    announceToScreenReader(`Stored as ${name}.`);
  });
}

/** @returns the labels of an answer; none of them is an empty list */
export function getResultLabels({ label, labels: several }: Pick<ClassifyAnswer, 'label' | 'labels'>): string[] {
  return several ?? (label == null ? [] : [label]);
}

/** Whether the labels are a JSON schema. */
export const isLabelSchema = computed(() => labelsText.value.trimStart().startsWith('{'));

function parseFormToClassifier(): ClassifierPut {
  if (isLabelSchema.value) return { schema: parseJsonSchema(labelsText.value) };
  const lines = labelsText.value.split('\n').map((line) => line.trim());
  return {
    labels: lines.filter((line) => line !== '').map(parseLabelLine),
    ...(isMulti.value ? { multi: true } : {}),
    ...(isNoneAllowed.value ? { allow_none: true } : {}),
  };
}

function parseJsonSchema(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch (thrown) {
    throw new Error(`The schema is not valid JSON: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
  }
}

function parseLabelLine(line: string) {
  const at = line.indexOf(':');
  if (at < 1) return line;
  return { name: line.slice(0, at).trim(), description: line.slice(at + 1).trim() };
}
