import { computed, signal } from '@preact/signals';
import type { Client } from '../../client/index.ts';
import type { modelAnswer, z } from '../../edge/answers.ts';

export type ListedModel = z.output<typeof modelAnswer>;

const CHOSEN_MODEL_KEY = 'sluice-model';

/** The models that are not retired. */
export const availableModels = signal<ListedModel[]>([]);
const chosenModelId = signal(localStorage.getItem(CHOSEN_MODEL_KEY) ?? undefined);

/** The model of the next question: the one that was chosen last, or the cheapest Haiku. */
export const currentModel = computed(
  () =>
    availableModels.value.find(({ id }) => id === chosenModelId.value) ??
    findCheapestHaiku(availableModels.value) ??
    availableModels.value[0],
);

export function selectModel(id: string): void {
  localStorage.setItem(CHOSEN_MODEL_KEY, id);
  chosenModelId.value = id;
}

export async function loadModels(client: Client): Promise<void> {
  const page = (await (await client.fetch('/models', { query: { limit: 1_000 } })).json()) as { data: ListedModel[] };
  const now = Date.now();
  availableModels.value = page.data.filter(({ retires_at }) => retires_at === null || Date.parse(retires_at) > now);
}

/** @returns a model's display name, or its id if it is not in the list */
export function getModelDisplayName(id: string): string {
  return availableModels.value.find((row) => row.id === id)?.display_name ?? id;
}

/** @returns what a model takes, as sentences; an empty text for a model of which the edge knows nothing. */
export function describeModelFeatures({ thinking, efforts, default_effort, retires_at }: ListedModel): string {
  const thinks = { always: 'always thinks', adaptive: 'thinks by default', off: 'thinks on request' };
  return [
    thinking && `This model ${thinks[thinking.default]}.`,
    default_effort && `Effort ${efforts.join(', ')}; ${default_effort} by default.`,
    retires_at && `Retires on ${retires_at.slice(0, 10)}.`,
  ]
    .filter(Boolean)
    .join(' ');
}

function findCheapestHaiku(rows: readonly ListedModel[]): ListedModel | undefined {
  const priced = rows.filter(({ line, prices }) => line === 'haiku' && prices !== null);
  return priced.sort((left, right) => (left.prices?.input ?? 0) - (right.prices?.input ?? 0))[0];
}
