import { computed, signal } from '@preact/signals';
import type { Client } from '../../client/index.ts';
import type { modelAnswer, z } from '../../edge/answers.ts';

export type Model = z.output<typeof modelAnswer>;

const CHOICE_KEY = 'sluice-model';

/** The models that are not retired. */
export const models = signal<Model[]>([]);
const chosen = signal(localStorage.getItem(CHOICE_KEY) ?? undefined);

/** The model of the next question: the one that was chosen last, or the cheapest Haiku. */
export const model = computed(
  () => models.value.find(({ id }) => id === chosen.value) ?? cheapest(models.value) ?? models.value[0],
);

export function chooseModel(id: string): void {
  localStorage.setItem(CHOICE_KEY, id);
  chosen.value = id;
}

export async function loadModels(client: Client): Promise<void> {
  const page = (await (await client.fetch('/models', { query: { limit: 1_000 } })).json()) as { data: Model[] };
  const now = Date.now();
  models.value = page.data.filter(({ retires_at }) => retires_at === null || Date.parse(retires_at) > now);
}

/** @returns a model's display name, or its id if it is not in the list */
export function nameOf(id: string): string {
  return models.value.find((row) => row.id === id)?.display_name ?? id;
}

/** @returns what a model costs and takes, as sentences; an empty text for a model of which the edge knows nothing. */
export function modelFacts({ thinking, efforts, default_effort, prices, retires_at }: Model): string {
  const thinks = { always: 'always thinks', adaptive: 'thinks unless told not to', off: 'thinks if asked to' };
  const batch = prices?.batch;
  return [
    thinking && `It ${thinks[thinking.default]}.`,
    default_effort && `Effort ${efforts.join(', ')}; ${default_effort} unless asked.`,
    prices && `A million tokens: $${prices.input} in, $${prices.output} out.`,
    batch && `In batches $${batch.input} and $${batch.output}.`,
    retires_at && `It retires on ${retires_at.slice(0, 10)}.`,
  ]
    .filter(Boolean)
    .join(' ');
}

function cheapest(rows: readonly Model[]): Model | undefined {
  const priced = rows.filter(({ line, prices }) => line === 'haiku' && prices !== null);
  return priced.sort((left, right) => (left.prices?.input ?? 0) - (right.prices?.input ?? 0))[0];
}
