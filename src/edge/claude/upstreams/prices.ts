/** Finds what models cost at each upstream. */

import { CLAUDE_API, type Settings } from '../../config/settings.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import { type Model, type ModelOverride, ModelTable, type TokenPrices, takeHighestPrices } from '../models/models.ts';
import { type ConfiguredUpstream, createConfiguredUpstreams, type UpstreamEntry } from '../providers/entry.ts';

const TOKEN_KINDS = ['input', 'output', 'cache_write_5m', 'cache_write_1h', 'cache_read'] as const;

const tables = new WeakMap<Settings, Map<string, ModelTable>>();

/**
 * @param upstream its name; undefined if it is not known which one answered, or if there is only one
 * @returns the prices by which a request that ran there is settled; the most expensive of all if the upstream is not known
 */
export function getModelTableOfUpstream(settings: Settings, upstream: string | undefined): ModelTable {
  if (settings.UPSTREAMS.length === 0) return settings.models;
  const all = createConfiguredUpstreams(settings);
  const there = all.filter(({ name }) => name === upstream);
  return getModelTableWithHighestPrices(settings, there.length > 0 ? there : all);
}

/** @returns for each model the highest prices of these upstreams. A request that any of them may answer is held by these. */
export function getModelTableWithHighestPrices(
  settings: Settings,
  upstreams: readonly ConfiguredUpstream[],
): ModelTable {
  const tablesOfSettings = getOrCreate(tables, settings, () => new Map<string, ModelTable>());
  const key = upstreams.map(({ name }) => name).join('\n');
  return getOrCreate(tablesOfSettings, key, () => createTable(settings, upstreams));
}

/**
 * @param upstream as for `getModelTableOfUpstream`
 * @returns whether the Claude API itself answers there, or the simulator in its place. Gateways and clouds have bills of their own
 */
export function isUpstreamClaudeApi(settings: Settings, upstream: string | undefined): boolean {
  if (settings.UPSTREAMS.length === 0) return settings.ANTHROPIC_BASE_URL === CLAUDE_API;
  return createConfiguredUpstreams(settings).some(({ name, isClaudeApi }) => name === upstream && isClaudeApi);
}

/** @returns which answers an upstream stops when their connection is closed; `streams` where its entry does not say */
export function getCancelStopsSetting(settings: Settings, upstream: string | undefined): UpstreamEntry['cancel_stops'] {
  if (settings.UPSTREAMS.length === 0) return 'streams';
  return createConfiguredUpstreams(settings).find(({ name }) => name === upstream)?.entry.cancel_stops ?? 'streams';
}

function createTable(settings: Settings, upstreams: readonly ConfiguredUpstream[]): ModelTable {
  const overrides: Record<string, ModelOverride> = {};
  for (const row of settings.models.rows) {
    const there = upstreams.flatMap((one) => {
      const id = one.idOf(row.id);
      return id === undefined ? [] : [{ id, prices: computeUpstreamModelPrices(row, one, settings) }];
    });
    const prices = there
      .map((one) => one.prices)
      .reduce((left, right) => takeHighestModelPrices(left, right), there[0]?.prices ?? row.prices);
    const aliases = [...row.aliases, ...there.map(({ id }) => id).filter((id) => id !== row.id)];
    overrides[row.id] = { ...row, aliases, prices };
  }
  for (const { entry } of upstreams) {
    for (const [name, row] of Object.entries(entry.prices ?? {})) {
      if (!settings.models.findRow(name)) overrides[name] ??= row as ModelOverride;
    }
  }
  return new ModelTable(overrides, settings.MODEL_ALIASES);
}

/** @returns a model's prices at one upstream: from its own rows, or the deployment's prices times its factor, rounded up. */
function computeUpstreamModelPrices(
  { id, aliases, prices }: Model,
  { entry }: ConfiguredUpstream,
  settings: Settings,
): Model['prices'] {
  const { price_factor = 1, prices: own = {} } = entry;
  const scaled = scaleModelPrices(prices, price_factor);
  const name = Object.keys(own).find(
    (one) => [id, ...aliases].includes(one) || settings.models.findRow(one)?.id === id,
  );
  const row = name === undefined ? undefined : (own[name]?.prices as Partial<Model['prices']> | undefined);
  return { ...scaled, ...row };
}

function scaleModelPrices(prices: Model['prices'], factor: number): Model['prices'] {
  if (factor === 1) return prices;
  const { long_prompt, fast } = prices;
  return {
    ...scalePrices(prices, factor),
    ...(long_prompt && {
      long_prompt: { ...scalePrices(long_prompt, factor), above_tokens: long_prompt.above_tokens },
    }),
    ...(fast && { fast: scalePrices(fast, factor) }),
  };
}

/** Rounds up to three decimals, which are whole nanodollars a token. Tiny remainders come only from the multiplication. */
function scalePrices(prices: TokenPrices, factor: number): TokenPrices {
  const scalePriceOfKind = (kind: (typeof TOKEN_KINDS)[number]) =>
    Math.ceil(Number((prices[kind] * factor * 1_000).toFixed(6))) / 1_000;
  // `fromEntries` forgets the names, which are all members of the type.
  return Object.fromEntries(TOKEN_KINDS.map((kind) => [kind, scalePriceOfKind(kind)])) as unknown as TokenPrices;
}

function takeHighestModelPrices(left: Model['prices'], right: Model['prices']): Model['prices'] {
  const long = [left.long_prompt, right.long_prompt].flatMap((one) => one ?? []);
  const fast = [left.fast, right.fast].flatMap((one) => one ?? []);
  return {
    ...takeHighestPrices([left, right]),
    ...(long.length > 0 && {
      long_prompt: { ...takeHighestPrices(long), above_tokens: Math.min(...long.map((one) => one.above_tokens)) },
    }),
    ...(fast.length > 0 && { fast: takeHighestPrices(fast) }),
  };
}
