/** Keeps the fields of the form, and the result. */
import { computed, signal } from '@preact/signals';
import type { ClassifierPut, ClassifyAnswer, NamedRow } from '../../client/index.ts';
import { refreshSpent } from '../edge/account.ts';
import { AsyncAction } from '../edge/async-action.ts';
import { edge } from '../edge/client.ts';
import { announce } from '../ui/announcer.tsx';
import type { Sample } from './samples.ts';

export const formText = signal('');
/** The labels: one in each line, with an optional description after a colon; or a JSON schema. */
export const labels = signal('');
export const multi = signal(false);
export const allowNone = signal(false);
/** The name of a stored classifier; empty: the labels of the form are used. */
export const stored = signal('');
export const classifiers = signal<NamedRow[]>([]);
export const answer = signal<ClassifyAnswer | undefined>(undefined);

/** What the result is of, as text. */
const answered = signal('');
/** Whether the form has changed since: the result is that of another text, or of other labels. */
export const isOutdated = computed(() => answer.value !== undefined && answered.value !== formAsks());

const action = new AsyncAction();
export const { busy, fault: formFault } = action;

export async function refreshClassifiers(): Promise<void> {
  classifiers.value = (await edge().classifiers.list({ limit: 1_000 })).data;
}

export function fill(sample: Sample): void {
  formText.value = sample.text;
  labels.value = sample.labels.join('\n');
  multi.value = sample.multi ?? false;
  allowNone.value = sample.allowNone ?? false;
  stored.value = '';
}

export async function run(): Promise<void> {
  await action.run(async () => {
    answer.value = undefined;
    answered.value = formAsks();
    const by = stored.value === '' ? parts() : { classifier: stored.value };
    answer.value = await edge().classify({ ...by, input: formText.value });
    announce(`Classified as ${labelsOf(answer.value).join(', ') || 'none of these'}.`);
    await refreshSpent();
  });
}

function formAsks(): string {
  const by = stored.value === '' ? [labels.value, multi.value, allowNone.value] : stored.value;
  return JSON.stringify([formText.value, by]);
}

/** Fills the form with a sample, and classifies it. */
export async function classifySample(sample: Sample): Promise<void> {
  fill(sample);
  await run();
}

export async function store(name: string): Promise<void> {
  await action.run(async () => {
    await edge().classifiers.put(name, parts());
    await refreshClassifiers();
    stored.value = name;
    announce(`Stored as ${name}.`);
  });
}

/** @returns the labels of an answer; none of them is an empty list */
export function labelsOf({ label, labels: several }: Pick<ClassifyAnswer, 'label' | 'labels'>): string[] {
  return several ?? (label == null ? [] : [label]);
}

/** Whether the labels are a JSON schema. */
export const isSchema = computed(() => labels.value.trimStart().startsWith('{'));

function parts(): ClassifierPut {
  if (isSchema.value) return { schema: parseSchema(labels.value) };
  const lines = labels.value.split('\n').map((line) => line.trim());
  return {
    labels: lines.filter((line) => line !== '').map(labelOf),
    ...(multi.value ? { multi: true } : {}),
    ...(allowNone.value ? { allow_none: true } : {}),
  };
}

function parseSchema(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch (thrown) {
    throw new Error(`The schema is not valid JSON: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
  }
}

function labelOf(line: string) {
  const at = line.indexOf(':');
  if (at < 1) return line;
  return { name: line.slice(0, at).trim(), description: line.slice(at + 1).trim() };
}
