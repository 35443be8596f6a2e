import { ApiError } from './errors.ts';
import { pageOf } from './page.ts';

/** A model that the simulator answers for. */
export interface SimulatedModel {
  id: string;
  display_name: string;
  /** RFC 3339. */
  created_at: string;
  /** The context window, in tokens. */
  max_input_tokens: number;
  /** The largest `max_tokens` that the model accepts. */
  max_tokens: number;
  /** The shortest prefix that is cached, in tokens. */
  minimum_cacheable_tokens: number;
  /** RFC 3339. */
  deprecated_at?: string | null | undefined;
  /** RFC 3339; from then on the model answers 404. */
  retires_at?: string | null | undefined;
  /** The id of the model that a retired one's error names. */
  replacement?: string | null | undefined;
  /** Other ids under which it can be asked for. */
  aliases?: readonly string[] | undefined;
  /** Whether thinking after another conversation than its own is refused. Default true. */
  checks_thinking?: boolean | undefined;
}

type Lifecycle = 'active' | 'deprecated' | 'retired';

function lifecycleOf(model: SimulatedModel, now: number): Lifecycle {
  if (model.retires_at && Date.parse(model.retires_at) <= now) return 'retired';
  if (model.deprecated_at && Date.parse(model.deprecated_at) <= now) return 'deprecated';
  return 'active';
}

function row(model: SimulatedModel, now: number): Record<string, unknown> {
  return {
    type: 'model',
    id: model.id,
    display_name: model.display_name,
    created_at: model.created_at,
    lifecycle: lifecycleOf(model, now),
    deprecated_at: model.deprecated_at ?? null,
    retires_at: model.retires_at ?? null,
    max_input_tokens: model.max_input_tokens,
    max_tokens: model.max_tokens,
    line: /haiku|sonnet|opus|fable|mythos/.exec(model.id)?.[0] ?? null,
    capabilities: null,
  };
}

function named(models: readonly SimulatedModel[], id: string): SimulatedModel {
  const model = models.find((entry) => entry.id === id || entry.aliases?.includes(id));
  if (model === undefined) throw new ApiError(404, `model: ${id}`);
  return model;
}

/**
 * Finds the model of an id or alias that shall answer.
 * @throws ApiError 404 for an unknown one, and for a retired one, whose error names the replacement.
 */
export function servingModel(models: readonly SimulatedModel[], id: string, now: number): SimulatedModel {
  const model = named(models, id);
  if (lifecycleOf(model, now) !== 'retired') return model;
  const instead = model.replacement ? ` Use ${model.replacement} instead.` : '';
  throw new ApiError(404, `model: ${id}. This model was retired on ${model.retires_at?.slice(0, 10)}.${instead}`);
}

/** Describes a model as `GET /v1/models/:id` does, also a retired one. */
export function describeModel(models: readonly SimulatedModel[], id: string, now: number): Record<string, unknown> {
  return row(named(models, id), now);
}

/**
 * Makes one page of `GET /v1/models`, newest first. Retired models are listed only when `lifecycle` asks for them.
 * @throws ApiError 400 for a bad `limit`, an unknown cursor, or both cursors at once.
 */
export function listModels(
  models: readonly SimulatedModel[],
  query: URLSearchParams,
  now: number,
): Record<string, unknown> {
  const wanted = [...query.getAll('lifecycle'), ...query.getAll('lifecycle[]')];
  const stages = new Set(wanted.length > 0 ? wanted : ['active', 'deprecated']);
  const rows = models
    .filter((model) => stages.has(lifecycleOf(model, now)))
    .toSorted((a, b) => Date.parse(b.created_at) - Date.parse(a.created_at) || (a.id < b.id ? -1 : 1));
  const page = pageOf(rows, query, 'model');
  return { ...page, data: page.data.map((model) => row(model, now)) };
}
