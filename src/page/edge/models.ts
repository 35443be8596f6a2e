import { computed, signal } from '@preact/signals';
import type { Client } from '../../client/index.ts';
import type { modelAnswer, z } from '../../edge/answers.ts';
import { createTokenSignal } from './credential.ts';

export type ListedModel = z.output<typeof modelAnswer>;

/** How many colours `styles/tokens.css` has for charts: `--series-1` and so on, one for each line of models. */
const SERIES_COLORS = 5;
/**
 * How much of the text’s colour, in percent, is mixed into the colour of a line for its models, from the oldest to the newest. The
 * text’s colour is dark on a light page and light on a dark one, so no shade comes near the page’s own colour.
 */
const MODEL_SHADES = [0, 36, 18, 50, 9, 43, 27, 60];

const CHOSEN_MODEL_KEY = 'sluice-model';

/** The models that are not retired. */
export const availableModels = createTokenSignal<ListedModel[]>([]);
/** The display names of all models, also the retired ones, by their ids. */
const modelNames = createTokenSignal<ReadonlyMap<string, string>>(new Map());
const modelColors = createTokenSignal<ReadonlyMap<string, string>>(new Map());
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
  modelColors.value = chooseModelColors(page.data);
  modelNames.value = new Map(page.data.map(({ id, display_name }) => [id, display_name]));
  availableModels.value = page.data.filter(({ retires_at }) => retires_at === null || Date.parse(retires_at) > now);
}

/** @returns a model's display name, or its id if it is not in the list */
export function getModelDisplayName(id: string): string {
  return modelNames.value.get(id) ?? id;
}

/**
 * @param models all models, also the retired ones, newest first within a line
 * @returns the colour of each. It stays the same when a newer model or another line is added before the others
 */
function chooseModelColors(models: readonly Pick<ListedModel, 'id' | 'line'>[]): Map<string, string> {
  const byLine = Map.groupBy(models.toReversed(), ({ line }) => line);
  byLine.delete(null);
  return new Map(
    [...byLine.values()].flatMap((line, series) => line.map(({ id }, nth) => [id, mixColor(series, nth)] as const)),
  );
}

/** @returns the colour of a model in charts. A name that is not in the list always has the same colour, too */
export function getModelColor(id: string): string {
  const known = modelColors.value.get(id);
  if (known !== undefined) return known;
  let hash = 0;
  for (const character of id) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 1_009;
  return mixColor(hash, Math.floor(hash / SERIES_COLORS));
}

function mixColor(series: number, nth: number): string {
  const color = `var(--series-${(series % SERIES_COLORS) + 1})`;
  const shade = MODEL_SHADES[nth % MODEL_SHADES.length];
  return shade ? `color-mix(in oklab, ${color}, var(--ink) ${shade}%)` : color;
}

/** @returns what a model takes, as sentences; an empty text for a model of which the edge knows nothing. */
export function describeModelFeatures({ thinking, retires_at }: ListedModel): string {
  const thinks = { always: 'always thinks', adaptive: 'thinks by default', off: 'thinks on request' };
  return [thinking && `This model ${thinks[thinking.default]}.`, retires_at && `Retires on ${retires_at.slice(0, 10)}.`]
    .filter(Boolean)
    .join(' ');
}

function findCheapestHaiku(rows: readonly ListedModel[]): ListedModel | undefined {
  const priced = rows.filter(({ line, prices }) => line === 'haiku' && prices !== null);
  return priced.sort((left, right) => (left.prices?.input ?? 0) - (right.prices?.input ?? 0))[0];
}
