/** Lists the models of an edge with several upstreams: every model that one of them serves, with where and at which price. */

import { isObject } from '../json/object.ts';
import type { Model } from '../pricing/models.ts';
import type { Settings } from '../settings/settings.ts';
import type { UpstreamPool } from '../upstream/choice/pool.ts';
import { pricesAt } from '../upstream/choice/prices.ts';

/** A model as an upstream, or this edge, lists it. */
export interface ModelRow {
  id: string;
  [key: string]: unknown;
}

/** What decides which models are served. */
interface Serving {
  all: readonly Pick<UpstreamPool['all'][number], 'idOf'>[];
}

/** The API's value for a model whose release date is not known. */
export const UNKNOWN_DAY = '1970-01-01T00:00:00Z';

/**
 * @param listed the models in the upstreams' lists
 * @returns the models that are served, the listed ones first. Retired models are included only if they are listed
 */
export function servedModels(
  pool: Serving,
  listed: readonly ModelRow[],
  { models }: Pick<Settings, 'models'>,
  now: number,
): ModelRow[] {
  const known = new Set(listed.map(({ id }) => models.find(id)?.id ?? id));
  const others = models.rows.filter(({ id, retires_at }) => {
    return !known.has(id) && (retires_at === null || Date.parse(retires_at) > now);
  });
  return [...listed, ...others.map(rowOfTable)].filter(({ id }) => pool.all.some((one) => one.idOf(id) !== undefined));
}

/** @returns a model of this edge's own table, by any of its names; undefined if no upstream serves it. */
export function servedModel(
  pool: Pick<UpstreamPool, 'all'>,
  name: string,
  { models }: Pick<Settings, 'models'>,
): ModelRow | undefined {
  const id = models.find(name)?.id ?? models.resolve(name);
  if (pool.all.every((one) => one.idOf(id) === undefined)) return undefined;
  const row = models.find(id);
  return row ? rowOfTable(row) : undefined;
}

function rowOfTable({ id, display_name }: Model): ModelRow {
  return { type: 'model', id, display_name, created_at: UNKNOWN_DAY };
}

/** @returns where a model is served, in the order in which upstreams are tried, with its id and prices there. */
export function placesOf(
  pool: Pick<UpstreamPool, 'all'>,
  model: string,
  settings: Settings,
): { name: string; id: string; prices: Model['prices'] | null }[] {
  return pool.all.flatMap((one) => {
    const id = one.idOf(model);
    if (id === undefined) return [];
    return [{ name: one.name, id, prices: pricesAt(settings, one.name).find(model)?.prices ?? null }];
  });
}

/** @returns the rows of a list of models; an empty list if it is not a list. */
export function rowsIn(body: unknown): ModelRow[] {
  const data = isObject(body) ? body.data : undefined;
  return Array.isArray(data) ? data.filter(isModelRow) : [];
}

/** @returns whether a value is a model as an upstream lists it. */
export function isModelRow(value: unknown): value is ModelRow {
  return isObject(value) && typeof value.id === 'string';
}
