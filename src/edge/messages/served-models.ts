/** Lists the models of an edge with several upstreams: every model that one of them serves, with where and at which price. */

import { getFastModePrices, getModelLifecycle, type Model, type TokenPrices } from '../claude/models/models.ts';
import type { UpstreamPool } from '../claude/upstreams/pool.ts';
import { getModelTableOfUpstream } from '../claude/upstreams/prices.ts';
import type { Settings } from '../config/settings.ts';
import { isObject } from '../kit/json/object.ts';

/** A model as an upstream, or this edge, lists it. */
export interface ModelListRow {
  id: string;
  [key: string]: unknown;
}

/** The API's value for a model whose release date is not known. */
export const UNKNOWN_DAY = '1970-01-01T00:00:00Z';

/**
 * @param listed the models in the upstreams' lists
 * @returns the models that are served, the listed ones first. Retired models are included only if they are listed
 */
export function listServedModels(
  pool: { all: readonly Pick<UpstreamPool['all'][number], 'idOf'>[] },
  listed: readonly ModelListRow[],
  { models }: Pick<Settings, 'models'>,
  now: number,
): ModelListRow[] {
  const ids = new Set(listed.map(({ id }) => models.findRow(id)?.id ?? id));
  const others = models.rows.filter((row) => !ids.has(row.id) && getModelLifecycle(row, now) !== 'retired');
  return [...listed, ...others.map(toModelRow)].filter(({ id }) => pool.all.some((one) => one.idOf(id) !== undefined));
}

/** @returns the rows, and behind them those of models that are listed, by this deployment's own names. */
export function addAliasRows(
  rows: ModelListRow[],
  settings: Pick<Settings, 'models' | 'MODEL_ALIASES'>,
): ModelListRow[] {
  const { models, MODEL_ALIASES } = settings;
  const named = Object.entries(MODEL_ALIASES).flatMap(([id, target]) => {
    const row = rows.find(
      (one) => models.canBeSameModel(one.id, target) && (one.id === target || models.findRow(one.id)),
    );
    return row && rows.every((one) => one.id !== id) ? [{ ...row, id }] : [];
  });
  return [...rows, ...named];
}

/** @returns a model of this edge's own table, by any of its names; undefined if no upstream serves it. */
export function findServedModelByName(
  pool: Pick<UpstreamPool, 'all'>,
  name: string,
  { models }: Pick<Settings, 'models'>,
): ModelListRow | undefined {
  const id = models.findRow(name)?.id ?? models.resolveAlias(name);
  if (pool.all.every((one) => one.idOf(id) === undefined)) return undefined;
  const row = models.findRow(id);
  return row ? toModelRow(row) : undefined;
}

function toModelRow({ id, display_name }: Model): ModelListRow {
  return { type: 'model', id, display_name, created_at: UNKNOWN_DAY };
}

/** @returns where a model is served, in the order in which upstreams are tried, with its id and prices there. */
export function findServingUpstreams(
  pool: Pick<UpstreamPool, 'all'>,
  model: string,
  settings: Settings,
): { name: string; id: string; prices: ReturnType<typeof describeModelPrices> }[] {
  return pool.all.flatMap((one) => {
    const id = one.idOf(model);
    if (id === undefined) return [];
    return [
      { name: one.name, id, prices: describeModelPrices(getModelTableOfUpstream(settings, one.name).findRow(model)) },
    ];
  });
}

/** @returns a model's prices, those of batches too, and those of fast answers while there are any; null for an unknown model. */
export function describeModelPrices(model: Model | undefined, now = Date.now()) {
  if (!model) return null;
  const { fast: _, ...usual } = model.prices;
  const fast = getFastModePrices(model, now);
  const { long_prompt, ...short } = usual;
  const long = long_prompt && { ...computeBatchPrices(long_prompt), above_tokens: long_prompt.above_tokens };
  return {
    ...usual,
    ...(fast && { fast }),
    batch: { ...computeBatchPrices(short), ...(long && { long_prompt: long }) },
  };
}

function computeBatchPrices({ input, output, cache_write_5m, cache_write_1h, cache_read }: TokenPrices): TokenPrices {
  return {
    input: input / 2,
    output: output / 2,
    cache_write_5m: cache_write_5m / 2,
    cache_write_1h: cache_write_1h / 2,
    cache_read: cache_read / 2,
  };
}

/** @returns the rows of a list of models; an empty list if it is not a list. */
export function parseModelRows(body: unknown): ModelListRow[] {
  const data = isObject(body) ? body.data : undefined;
  return Array.isArray(data) ? data.filter(isModelRow) : [];
}

/** @returns whether a value is a model as an upstream lists it. */
export function isModelRow(value: unknown): value is ModelListRow {
  return isObject(value) && typeof value.id === 'string';
}
