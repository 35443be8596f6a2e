import { ApiError } from './errors.ts';
import { createPage } from './page.ts';

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
  line?: string | null | undefined;
  /** Its default for a request without `thinking`, the supported types, and the efforts at which thinking can be turned off. */
  thinking?: ModelThinkingSupport | null | undefined;
  /** The values of `output_config.effort`. Absent, as all that follows: whatever the API knows. */
  efforts?: readonly string[] | undefined;
  /** Default `high`. */
  default_effort?: string | null | undefined;
  /** Whether a tool can be forced. */
  forced_tools?: boolean | undefined;
  /**
   * The other features that it rejects: `sampling`, `top_p_1`, `prefill`, `system` messages, `plain_system` (those without
   * their beta), `effort` in these, a `geo`, `fallbacks`.
   */
  refuses?: readonly string[] | undefined;
  /** Whether thinking is returned without its text unless the request asks for it. */
  omits_thinking?: boolean | undefined;
  /** Whether its text between calls is returned as thinking. */
  thinks_aloud?: boolean | undefined;
  /** Whether thinking of earlier turns does not come in. */
  strips_thinking?: boolean | undefined;
  /** Whether thinking after another conversation than its own is rejected. Default true. */
  checks_thinking?: boolean | 'new_accounts' | undefined;
  /** Whether another account cannot send its thinking back. */
  binds_account?: boolean | undefined;
  /** The other models whose thinking it reads. */
  reads?: readonly string[] | undefined;
  /**
   * The effect of `speed: "fast"`, and until when it is available. A model with `thinking` and without this field rejects it.
   */
  fast?: 'fast' | 'beta' | 'standard' | undefined;
  fast_until?: string | null | undefined;
  /** The longest side of an image in pixels, and the most tokens of one. */
  image?: readonly [pixels: number, tokens: number] | undefined;
  batch_max_tokens?: number | undefined;
  refused_tools?: readonly string[] | undefined;
  refused_advisors?: readonly string[] | undefined;
}

interface ModelThinkingSupport {
  default: 'always' | 'adaptive' | 'off';
  types: readonly string[];
  off_efforts: readonly string[];
}

type Lifecycle = 'active' | 'deprecated' | 'retired';

function getModelLifecycle({ retires_at, deprecated_at }: SimulatedModel, now: number): Lifecycle {
  if (retires_at && Date.parse(retires_at) <= now) return 'retired';
  // A retirement date is published only for deprecated models, so a model with one is deprecated even if `deprecated_at` is
  // missing: https://platform.claude.com/docs/en/about-claude/model-deprecations
  return (deprecated_at ? Date.parse(deprecated_at) <= now : Boolean(retires_at)) ? 'deprecated' : 'active';
}

/** @returns what a model can, of what is known about it */
function describeModelCapabilities({ thinking, efforts = [] }: SimulatedModel): Record<string, unknown> | null {
  if (!thinking) return null;
  const createSupportFlags = (names: string, supported: readonly string[] = names.split(' ')) =>
    Object.fromEntries(names.split(' ').map((name) => [name, { supported: supported.includes(name) }]));
  const edits = 'clear_thinking_20251015 clear_tool_uses_20250919 compact_20260112';
  const types = createSupportFlags('adaptive between_tools disabled enabled', thinking.types);
  return {
    ...createSupportFlags('batch citations code_execution image_input pdf_input structured_outputs'),
    context_management: { ...createSupportFlags(edits), supported: true },
    server_tools: { ...createSupportFlags('code_execution web_search'), supported: true },
    effort: { ...createSupportFlags('low medium high xhigh max', efforts), supported: efforts.length > 0 },
    thinking: { supported: true, types },
  };
}

function createModelResponse(model: SimulatedModel, now: number): Record<string, unknown> {
  const lifecycle = getModelLifecycle(model, now);
  return {
    type: 'model',
    id: model.id,
    display_name: model.display_name,
    created_at: model.created_at,
    lifecycle,
    deprecated_at: model.deprecated_at ?? null,
    retires_at: lifecycle === 'active' ? null : (model.retires_at ?? null),
    max_input_tokens: model.max_input_tokens,
    max_tokens: model.max_tokens,
    line: model.line ?? null,
    capabilities: describeModelCapabilities(model),
  };
}

function requireModel(models: readonly SimulatedModel[], id: string): SimulatedModel {
  const model = models.find((entry) => entry.id === id || entry.aliases?.includes(id));
  if (model === undefined) throw new ApiError(404, `model: ${id}`);
  return model;
}

/**
 * Finds the model of an id or alias that shall answer.
 * @throws ApiError 404 for an unknown one, and for a retired one, whose error names the replacement.
 */
export function requireServingModel(models: readonly SimulatedModel[], id: string, now: number): SimulatedModel {
  const model = requireModel(models, id);
  if (getModelLifecycle(model, now) !== 'retired') return model;
  const instead = model.replacement ? ` Use ${model.replacement} instead.` : '';
  throw new ApiError(404, `model: ${id}. This model was retired on ${model.retires_at?.slice(0, 10)}.${instead}`);
}

/** Describes a model as `GET /v1/models/:id` does, also a retired one. */
export function getModelResponse(models: readonly SimulatedModel[], id: string, now: number): Record<string, unknown> {
  return createModelResponse(requireModel(models, id), now);
}

/**
 * Makes one page of `GET /v1/models`, newest first. Retired models are listed only if `lifecycle` selects them.
 * @throws ApiError 400 for a bad `limit`, an unknown cursor, or both cursors at once.
 */
export function createModelsPage(
  models: readonly SimulatedModel[],
  query: URLSearchParams,
  now: number,
): Record<string, unknown> {
  const wanted = [...query.getAll('lifecycle'), ...query.getAll('lifecycle[]')];
  const stages = new Set(wanted.length > 0 ? wanted : ['active', 'deprecated']);
  const rows = models
    .filter((model) => stages.has(getModelLifecycle(model, now)))
    .toSorted((a, b) => Date.parse(b.created_at) - Date.parse(a.created_at) || (a.id < b.id ? -1 : 1));
  const page = createPage(rows, query, 'model');
  return { ...page, data: page.data.map((model) => createModelResponse(model, now)) };
}
