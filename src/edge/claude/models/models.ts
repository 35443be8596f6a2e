/** The longest name of a model, in characters, that limits and rows can have. */
export const MAX_MODEL_NAME_CHARACTERS = 256;

/**
 * The models this edge knows: limits, prices, and what they take. All that depends on the model is read here, by members: no
 * other file tests a model's name.
 *
 * Source: Anthropic's published model and price tables, read on 2026-11-26. Prices are US dollars per million tokens. No
 * column is derived from another, because the relations between them are not the same for all models. Three things are not
 * published. They are chosen so that no bill is higher than expected and caching is not overstated: cache writes at fast
 * speed (1.25 and 2 times the fast input price), the minimum cacheable length of Fable and Mythos 5.2 (that of their
 * predecessor), and the most tokens that a model writes in a second (several times what has been seen of any).
 */

/** US dollars per million tokens, by kind. */
export interface TokenPrices {
  input: number;
  output: number;
  cache_write_5m: number;
  cache_write_1h: number;
  cache_read: number;
}

export interface ModelPrices extends TokenPrices {
  /** Prices of the whole request once its prompt (input, cache reads and cache writes) is longer than this. */
  long_prompt?: TokenPrices & { above_tokens: number };
  /** Prices at `speed: "fast"`; absent where the API rejects it. */
  fast?: TokenPrices;
}

/** How much a model does for an answer, from least to most. */
export const EFFORTS = ['low', 'medium', 'high', 'xhigh', 'max'] as const;
export type Effort = (typeof EFFORTS)[number];
export const MODEL_LINES = ['fable', 'mythos', 'opus', 'sonnet', 'haiku'] as const;
/** What a model does if a request has no `thinking`. With the default `always`, thinking cannot be turned off. */
export const THINKING_DEFAULTS = ['always', 'adaptive', 'off'] as const;
/** `top_p_1`: even a `top_p` of 1. */
export const REJECTABLE_PARAMETERS = ['sampling', 'top_p_1', 'prefill'] as const;
export const THINKING_TYPES = ['adaptive', 'enabled', 'disabled', 'between_tools'] as const;

interface ThinkingSupport {
  default: (typeof THINKING_DEFAULTS)[number];
  /** The values of `thinking.type` that it takes. `disabled` and `between_tools` switch thinking off. */
  types: readonly (typeof THINKING_TYPES)[number][];
  /** The efforts beside which it can be switched off. */
  off_efforts: readonly Effort[];
}

export interface Model {
  id: string;
  display_name: string;
  /** The line that it belongs to; null if that is not known. */
  line: (typeof MODEL_LINES)[number] | null;
  /** Other ids that the API takes for the same model. */
  aliases: readonly string[];
  max_input_tokens: number;
  max_tokens: number;
  /** The API does not cache a shorter prefix, and does not say so. */
  minimum_cacheable_tokens: number;
  /** The most tokens that it writes in a second. This limits what is booked for unseen output. */
  tokens_per_second: number;
  /** The same at `speed: "fast"`. */
  fast_tokens_per_second: number;
  /** When the API will stop serving it; null if that is not announced. */
  retires_at: string | null;
  replacement: string | null;
  /** null if it is not known: it may think. */
  thinking: ThinkingSupport | null;
  /** The values of `output_config.effort` that it takes, from least to most. */
  efforts: readonly Effort[];
  default_effort: Effort | null;
  /** Whether it can be made to call a tool, at least while it does not think. */
  forced_tools: boolean;
  /**
   * The features that it also rejects; `prefill` is a last message that begins its answer, and `sampling` all values except the
   * defaults.
   */
  refuses: readonly (typeof REJECTABLE_PARAMETERS)[number][];
  structured_output: boolean;
  /** Whether the API checks, on every account, that returned thinking follows the same messages. */
  binds_thinking: boolean;
  /** When the API stops to take `speed: "fast"` for it; null if that is not announced. */
  fast_until: string | null;
  prices: ModelPrices;
}

function createTokenPrices(
  input: number,
  output: number,
  cache_write_5m: number,
  cache_write_1h: number,
  cache_read: number,
): TokenPrices {
  return { input, output, cache_write_5m, cache_write_1h, cache_read };
}

const MILLION = 1_000_000;

function createThinkingSupport(
  byDefault: ThinkingSupport['default'],
  types: ThinkingSupport['types'],
  off_efforts: readonly Effort[] = [],
): ThinkingSupport {
  return { default: byDefault, types, off_efforts };
}

function createModelRow(
  id: string,
  display_name: string,
  minimum_cacheable_tokens: number,
  price: ModelPrices,
  more: Partial<Model> = {},
): Model {
  return {
    id,
    display_name,
    line: null,
    aliases: [],
    max_input_tokens: MILLION,
    max_tokens: 128_000,
    minimum_cacheable_tokens,
    tokens_per_second: 500,
    fast_tokens_per_second: 1_000,
    retires_at: null,
    replacement: null,
    thinking: null,
    efforts: [],
    default_effort: null,
    forced_tools: false,
    refuses: [],
    structured_output: false,
    binds_thinking: true,
    fast_until: null,
    prices: price,
    ...more,
  };
}

/** Matches the end of a snapshot's name: its date, or `-latest`. */
const SNAPSHOT = /-(?:\d{8}|latest)$/;

/** @returns a model's name without the date or `-latest` at its end. */
export function stripDate(name: string): string {
  return name.replace(SNAPSHOT, '');
}

/** A model of the API: what it is called beside its id follows from that. */
function createApiModelRow(
  id: string,
  minimum_cacheable_tokens: number,
  price: ModelPrices,
  more: Partial<Model>,
): Model {
  const name = stripDate(id);
  const [, line = '', ...version] = name.split('-');
  const display_name = `Claude ${line.charAt(0).toUpperCase()}${line.slice(1)} ${version.join('.')}`;
  const called = { line: line as Model['line'], aliases: name === id ? [] : [name] };
  return createModelRow(id, display_name, minimum_cacheable_tokens, price, { ...called, ...more });
}

/** The features of all models of the API. */
const COMMON_FEATURES = {
  efforts: EFFORTS,
  default_effort: 'high',
  forced_tools: true,
  refuses: ['sampling', 'prefill'],
  structured_output: true,
  binds_thinking: false,
} as const;
const ONE_TOP_P = { refuses: [...COMMON_FEATURES.refuses, 'top_p_1'] } as const;
const UP_TO_HIGH = ['low', 'medium', 'high'] as const;
const NOT_XHIGH = [...UP_TO_HIGH, 'max'] as const;
/** Always thinks, and takes no forced tool. */
const ALWAYS_THINKS = {
  ...COMMON_FEATURES,
  thinking: createThinkingSupport('always', ['adaptive']),
  forced_tools: false,
};
const ALWAYS_THINKS_5_1 = { ...ALWAYS_THINKS, ...ONE_TOP_P };
/** The same, before forced tools were rejected. */
const ALWAYS_THINKS_5 = { ...ALWAYS_THINKS, forced_tools: true };
/** Thinks unless the request disables thinking. */
const THINKS_BY_DEFAULT = {
  ...COMMON_FEATURES,
  thinking: createThinkingSupport('adaptive', ['adaptive', 'disabled'], UP_TO_HIGH),
};
/** Thinks only if the request enables thinking. */
const THINKS_ON_REQUEST = {
  ...COMMON_FEATURES,
  thinking: createThinkingSupport('off', ['adaptive', 'disabled'], EFFORTS),
};
const THINKS_ON_REQUEST_4_6 = {
  ...THINKS_ON_REQUEST,
  thinking: createThinkingSupport('off', ['adaptive', 'enabled', 'disabled'], NOT_XHIGH),
  efforts: NOT_XHIGH,
  refuses: ['prefill'],
} as const;
const THINKS_WITHIN_BUDGET = {
  ...THINKS_ON_REQUEST,
  refuses: [],
  thinking: createThinkingSupport('off', ['enabled', 'disabled']),
  efforts: [],
  default_effort: null,
  max_input_tokens: 200_000,
  max_tokens: 64_000,
};

const PRICE_5_2 = { ...createTokenPrices(8, 40, 10, 16, 0.2), fast: createTokenPrices(16, 80, 20, 32, 0.4) };
const PRICE_5_1 = createTokenPrices(10, 50, 12.5, 20, 0.25);
const PRICE_5 = createTokenPrices(10, 50, 12.5, 20, 1);
const PRICE_OPUS_5_5 = { ...createTokenPrices(4, 20, 5, 8, 0.2), fast: createTokenPrices(8, 40, 10, 16, 0.4) };
const PRICE_OPUS = createTokenPrices(5, 25, 6.25, 10, 0.5);
const PRICE_OPUS_FAST = { ...PRICE_OPUS, fast: createTokenPrices(10, 50, 12.5, 20, 1) };
const PRICE_SONNET_4 = createTokenPrices(3, 15, 3.75, 6, 0.3);
const PRICE_HAIKU_5_5 = {
  ...createTokenPrices(0.1, 0.5, 0.125, 0.2, 0.01),
  long_prompt: { above_tokens: 100_000, ...createTokenPrices(0.5, 2.5, 0.625, 1, 0.05) },
};

/** The table, newest first within a line. */
export const MODELS: readonly Model[] = [
  createApiModelRow('claude-fable-5-2', 512, PRICE_5_2, { ...ALWAYS_THINKS_5_1, binds_thinking: true }),
  createApiModelRow('claude-mythos-5-2', 512, PRICE_5_2, { ...ALWAYS_THINKS_5_1, binds_thinking: true }),
  createApiModelRow('claude-fable-5-1', 512, PRICE_5_1, ALWAYS_THINKS_5_1),
  createApiModelRow('claude-mythos-5-1', 512, PRICE_5_1, ALWAYS_THINKS_5_1),
  createApiModelRow('claude-fable-5', 512, PRICE_5, ALWAYS_THINKS_5),
  createApiModelRow('claude-mythos-5', 512, PRICE_5, ALWAYS_THINKS_5),
  createApiModelRow('claude-opus-5-5', 512, PRICE_OPUS_5_5, { ...ALWAYS_THINKS, default_effort: 'medium' }),
  createApiModelRow('claude-opus-5', 512, PRICE_OPUS_FAST, THINKS_BY_DEFAULT),
  createApiModelRow('claude-opus-4-8', 1_024, PRICE_OPUS_FAST, {
    ...THINKS_ON_REQUEST,
    fast_until: '2026-11-30T00:00:00Z',
  }),
  createApiModelRow('claude-opus-4-7', 2_048, PRICE_OPUS, THINKS_ON_REQUEST),
  createApiModelRow('claude-opus-4-6', 4_096, PRICE_OPUS, THINKS_ON_REQUEST_4_6),
  createApiModelRow('claude-opus-4-5-20251101', 4_096, PRICE_OPUS, {
    ...THINKS_WITHIN_BUDGET,
    thinking: createThinkingSupport('off', ['enabled', 'disabled'], UP_TO_HIGH),
    efforts: UP_TO_HIGH,
    default_effort: 'high',
    retires_at: '2027-01-22T00:00:00Z',
    replacement: 'claude-opus-5-5',
  }),
  createApiModelRow('claude-sonnet-5-5', 512, createTokenPrices(2, 10, 2.5, 4, 0.1), {
    ...COMMON_FEATURES,
    thinking: createThinkingSupport('adaptive', ['adaptive', 'between_tools'], UP_TO_HIGH),
    forced_tools: false,
  }),
  createApiModelRow('claude-sonnet-5', 1_024, createTokenPrices(2, 10, 2.5, 4, 0.2), {
    ...THINKS_BY_DEFAULT,
    thinking: createThinkingSupport('adaptive', ['adaptive', 'disabled'], EFFORTS),
  }),
  createApiModelRow('claude-sonnet-4-6', 1_024, PRICE_SONNET_4, THINKS_ON_REQUEST_4_6),
  createApiModelRow('claude-sonnet-4-5-20250929', 1_024, PRICE_SONNET_4, {
    ...THINKS_WITHIN_BUDGET,
    retires_at: '2026-11-30T00:00:00Z',
    replacement: 'claude-sonnet-5-5',
  }),
  createApiModelRow('claude-haiku-5-5', 512, PRICE_HAIKU_5_5, {
    ...THINKS_BY_DEFAULT,
    ...ONE_TOP_P,
    default_effort: 'medium',
  }),
  createApiModelRow('claude-haiku-4-5-20251001', 4_096, createTokenPrices(1, 5, 1.25, 2, 0.1), THINKS_WITHIN_BUDGET),
];

/**
 * @returns the columns that only the simulator reads, by model. They are in a function, so that they are left out of a deployed
 * Worker, which does not call it
 */
export function createSimulatorColumns() {
  const long = { batch_max_tokens: 300_000 };
  const bound = { checks_thinking: 'new_accounts' } as const;
  const family = { ...bound, refused_tools: ['computer_20251124'] };
  const newest = { omits_thinking: true, image: [2_576, 4_784] } as const;
  const aloud = { ...newest, thinks_aloud: true };
  const noEffort = { refuses: ['effort'] };
  const noSystem = { ...newest, ...long, refuses: ['effort', 'system'] };
  const older = { refuses: ['effort', 'system'], image: [1_568, 1_568] } as const;
  const oldest = { ...older, refuses: ['effort', 'system', 'geo'] };
  const ids = MODELS.map(({ id }) => id);
  const listModelsMatching = (pattern: RegExp) => ids.filter((id) => pattern.test(id));
  const of52 = {
    ...aloud,
    ...family,
    reads: listModelsMatching(/-5-2$/),
    refused_advisors: listModelsMatching(/(?<!-5-2)$/),
  };
  const of51 = { ...aloud, ...bound, reads: listModelsMatching(/-4-\d|[a-z]-5$|5-1$|opus-5-5/) };
  const of5 = { ...aloud, ...noEffort };
  return {
    'claude-fable-5-2': of52,
    'claude-mythos-5-2': of52,
    'claude-fable-5-1': of51,
    'claude-mythos-5-1': of51,
    'claude-fable-5': of5,
    'claude-mythos-5': of5,
    'claude-opus-5-5': { ...aloud, ...family, ...long, reads: listModelsMatching(/-4-\d|(opus|sonnet)-5$|sonnet-5-5/) },
    'claude-opus-5': { ...newest, ...long, fast: 'beta' as const },
    'claude-opus-4-8': { ...newest, ...long, ...noEffort, fast: 'beta' as const },
    'claude-opus-4-7': noSystem,
    'claude-opus-4-6': { ...older, ...long, fast: 'standard' as const },
    'claude-opus-4-5-20251101': oldest,
    'claude-sonnet-5-5': {
      ...aloud,
      ...family,
      ...long,
      binds_account: true,
      reads: listModelsMatching(/-4-\d|sonnet-5$/),
      refused_advisors: listModelsMatching(/opus-4-[78]|sonnet-5$|haiku-5-5/),
    },
    'claude-sonnet-5': { ...newest, ...long, refuses: ['effort', 'plain_system'] },
    'claude-sonnet-4-6': { ...older, ...long },
    'claude-sonnet-4-5-20250929': { ...oldest, strips_thinking: true },
    'claude-haiku-5-5': {
      ...newest,
      ...long,
      ...bound,
      refuses: ['fallbacks'],
      refused_tools: ['computer_20250124'],
      binds_account: true,
    },
    'claude-haiku-4-5-20251001': { ...oldest, strips_thinking: true },
  };
}

/** The value of `PRICES` for a model: any part of a row. A new row needs `prices`. */
export type ModelOverride = Partial<Omit<Model, 'id' | 'prices'>> & { prices?: Partial<ModelPrices> | undefined };

/** The models of a deployment: the table above with the deployment's changes. They are found by id or alias, dated or not. */
export class ModelTable {
  readonly rows: readonly Model[];
  readonly #byName = new Map<string, Model>();
  readonly #aliases: Readonly<Record<string, string>>;

  /**
   * @param overrides rows of the setting `PRICES`, by model id. An unknown id adds a row
   * @param aliases the setting `MODEL_ALIASES`: model ids by this deployment's own names
   */
  constructor(overrides: Readonly<Record<string, ModelOverride>> = {}, aliases: Readonly<Record<string, string>> = {}) {
    const rows = new Map(MODELS.map((row) => [row.id, row]));
    for (const [name, override] of Object.entries(overrides)) {
      const id = MODELS.find((row) => row.aliases.includes(name))?.id ?? name;
      const base = rows.get(id) ?? {
        ...(rows.get(stripDate(id)) ?? findMostExpensive(MODELS)),
        id,
        display_name: id,
        aliases: [],
      };
      rows.set(id, { ...base, ...override, prices: { ...base.prices, ...override.prices } });
    }
    this.rows = [...rows.values()];
    this.#aliases = aliases;
    for (const row of this.rows) for (const name of [row.id, ...row.aliases]) this.#byName.set(name, row);
  }

  /** @returns the same table with these prices of some models, by their ids. */
  copyWithPrices(prices: Readonly<Record<string, ModelPrices>>): ModelTable {
    const rows = this.rows.map((row) => [row.id, { ...row, prices: prices[row.id] ?? row.prices }] as const);
    return new ModelTable(Object.fromEntries(rows), this.#aliases);
  }

  /** @returns a model as the Claude API names it: the id behind the deployment's alias, otherwise the name itself. */
  resolveAlias(name: string): string {
    const findAlias = (name: string) => (Object.hasOwn(this.#aliases, name) ? this.#aliases[name] : undefined);
    // An alias for a model also applies to its dated snapshots, so look up the name without its date, too.
    const model = stripDate(name);
    return findAlias(name) ?? (this.#byName.has(model) ? findAlias(model) : undefined) ?? name;
  }

  /** @returns the row of an id or alias, dated or not; undefined for a model that is not in the table. */
  findRow(name: string): Model | undefined {
    return this.#findRowByExactName(this.resolveAlias(name));
  }

  /** @returns whether an answer by `made` may be of the model `asked`: a gateway can give its models any names. */
  canBeSameModel(answered: string, requested: string): boolean {
    const row = this.findRow(answered);
    return answered === requested || row === undefined || row.id === this.findRow(requested)?.id;
  }

  #findRowByExactName(name: string): Model | undefined {
    return this.#byName.get(name) ?? this.#byName.get(stripDate(name));
  }

  /**
   * @param name the name of a model in an answer. Gateways and clouds spell it in their own ways
   * @returns its row; undefined for a model that is not in the table
   */
  findRowOfAnsweringModel(name: string): Model | undefined {
    return this.#findRowByExactName(name) ?? this.#findRowByExactName(normalizeModelName(name));
  }

  /**
   * @param name the model as the Claude API names it: the deployment's aliases do not apply
   * @returns the row that prices a model: its own, or the most expensive of the table, with `isListed: false`
   */
  findPriceRow(name: string): { row: Model; isListed: boolean } {
    const row = this.#findRowByExactName(name);
    return row ? { row, isListed: true } : { row: findMostExpensive(this.rows), isListed: false };
  }
}

/** @returns a model's name as the API has it: without a provider's prefix and version, with dashes for dots. */
function normalizeModelName(name: string): string {
  return name
    .slice(0, MAX_MODEL_NAME_CHARACTERS)
    .toLowerCase()
    .replace(/^.*\//, '')
    .replace(/^(?:[a-z-]+\.)*(?=claude)/, '')
    .replace(/-v\d+(?::\d+)?$/, '')
    .replaceAll(/[.@]/g, '-');
}

const RETIREMENT_NOTICE_MS = 60 * 24 * 60 * 60 * 1_000;

/** @returns when a model is retired, if that is within 60 days or already past. */
export function getUpcomingRetirement(model: Model | undefined, now = Date.now()): string | undefined {
  if (!model?.retires_at) return undefined;
  return Date.parse(model.retires_at) - now <= RETIREMENT_NOTICE_MS ? model.retires_at : undefined;
}

/** @returns the prices at `speed: "fast"`; undefined where the API rejects that, or does no longer take it */
export function getFastModePrices({ prices, fast_until }: Model, now = Date.now()): TokenPrices | undefined {
  return fast_until !== null && Date.parse(fast_until) <= now ? undefined : prices.fast;
}

/** The model that takes `speed: "fast"`, and answers at its usual speed and price. */
const FAST_MODEL = 'claude-opus-4-6';

/** @returns whether the API takes `speed: "fast"` for a model */
export function supportsFastMode(model: Model, now = Date.now()): boolean {
  return model.id === FAST_MODEL || getFastModePrices(model, now) !== undefined;
}

/** @returns what the API calls the state of a model: from when its retirement is announced it is deprecated. */
export function getModelLifecycle({ retires_at }: Pick<Model, 'retires_at'>, now = Date.now()) {
  if (retires_at === null) return 'active';
  return Date.parse(retires_at) > now ? 'deprecated' : 'retired';
}

/** @returns a row that is at least as dear as every other. It prices unknown models. */
function findMostExpensive(rows: readonly Model[]): Model {
  const usual = rows.flatMap(({ prices }) => (prices.long_prompt ? [prices, prices.long_prompt] : [prices]));
  const fast = rows.flatMap(({ prices }) => prices.fast ?? []);
  return createModelRow('unknown', 'Unknown model', 512, {
    ...takeHighestPrices(usual),
    fast: takeHighestPrices([...usual, ...fast]),
  });
}

/** @returns the highest price of each kind. */
export function takeHighestPrices(rows: readonly TokenPrices[]): TokenPrices {
  const maxOfKind = (kind: keyof TokenPrices) => Math.max(...rows.map((row) => row[kind]));
  return createTokenPrices(
    maxOfKind('input'),
    maxOfKind('output'),
    maxOfKind('cache_write_5m'),
    maxOfKind('cache_write_1h'),
    maxOfKind('cache_read'),
  );
}
