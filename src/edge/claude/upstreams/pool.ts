/** Finds which upstreams of a deployment can take a request, and where its prompt cache is. */

import { HOUR_MS, MINUTE_MS } from '../../kit/async/durations.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import { createLruCache, type LruCache } from '../../kit/cache/lru.ts';
import { ApiError, DO_NOT_RETRY } from '../../kit/http/errors.ts';
import { createModelHint } from '../models/model-hint.ts';
import { MAX_MODEL_NAME_CHARACTERS, type ModelTable } from '../models/models.ts';
import { splitCacheWrites, type TokenCounts } from '../pricing/cost.ts';
import type { ConfiguredUpstream } from '../providers/entry.ts';
import type { ClaudeApiCall } from '../providers/provider.ts';
import { HealthRegistry } from './health.ts';

/** The input of the choice between several upstreams. Not used if there is only one. */
export interface UpstreamRoutingInput {
  /** The model, as the Claude API names it; undefined if the request has none. */
  model?: string | undefined;
  streams: boolean;
  /** Whether the whole response should arrive within a few seconds, as for a count or a list. */
  isQuick?: boolean | undefined;
  /** The account, whose earlier prompts an upstream may have in its cache. */
  account?: string | undefined;
  /** The upstream that answered the turn before: containers and threads of its conversation are there. */
  previousUpstream?: string | undefined;
  /** The upstreams that have prompts of its conversation in their caches now. Absent without an earlier turn. */
  cachedAt?: readonly string[] | undefined;
  /** The kind of resource in the request that only one upstream has. Then no other upstream is tried. */
  boundResource?: UpstreamBoundResourceKind | undefined;
  /** The name of the upstream that has the resource which the request names, if it is known. The request is sent only there. */
  requiredUpstream?: string | undefined;
  /** Returns whether an upstream, by its name, should not be used to count. */
  avoids?: ((name: string) => boolean) | undefined;
}

/** The kinds of resources that belong to one upstream. */
export type UpstreamBoundResourceKind = 'a file' | 'a container' | 'a thread';

/** The parts of a call that decide which upstreams can take it. */
export type RoutableCall = Pick<ClaudeApiCall, 'method' | 'path' | 'headers'>;

/** The upstreams of the setting UPSTREAMS in their order, with what this isolate knows about them. */
export interface UpstreamPool {
  readonly all: readonly ConfiguredUpstream[];
  readonly health: HealthRegistry;
  /** Where prompts of an account and model are cached, and which upstream has answered last. */
  readonly homes: LruCache<string, PromptCacheLocation>;
  readonly models: ModelTable;
  /** @returns the function that replaces `fetch` for an upstream. */
  fetchOf(upstream: ConfiguredUpstream): (url: string, init: RequestInit) => Promise<Response>;
}

/** Where the prompts of an account and model are cached. */
interface PromptCacheLocation {
  lastUpstream: string;
  caches: CachesByUpstream;
}

/**
 * By the name of an upstream: the time until which prompts are cached there, in milliseconds since 1970, and their lifetime.
 */
export type CachesByUpstream = Readonly<Record<string, { until: number; lifetimeMs: number }>>;

type PoolState = Pick<UpstreamPool, 'health' | 'homes'>;

/**
 * The most lists of upstreams that are remembered. A deployment has one; there are more in tests, or while a setting changes.
 */
const MAX_POOLS = 20;
const MAX_CACHE_HOMES = 5_000;
const poolStates = createLruCache<string, PoolState>(MAX_POOLS);

/** @returns what this isolate knows about a list of upstreams. Its Worker and its objects share it. */
export function getPoolState(list: unknown): PoolState {
  return getOrCreate(poolStates, JSON.stringify(list), () => ({
    health: new HealthRegistry(),
    homes: createLruCache(MAX_CACHE_HOMES),
  }));
}

/** Thrown if no upstream can take a request, now or later. */
export class NoUpstreamError extends ApiError {
  constructor(type: 'not_found_error' | 'invalid_request_error', message: string) {
    super(type, message, { headers: DO_NOT_RETRY });
  }
}

const COUNT_PATH = '/v1/messages/count_tokens';
const LIST_FILES = { method: 'GET', path: '/v1/files', headers: {} };

/**
 * @returns the upstreams that can take a request, in their order
 * @throws NoUpstreamError 404 for a model that no upstream serves, or for an upstream that is gone; 400 for a feature that none of
 *   the upstreams with this model has
 */
export function findUpstreams(
  { all, homes, models }: Pick<UpstreamPool, 'all' | 'homes' | 'models'>,
  call: RoutableCall,
  { model, boundResource, previousUpstream, account, requiredUpstream, avoids }: UpstreamRoutingInput,
): readonly ConfiguredUpstream[] {
  if (requiredUpstream !== undefined) return [findRequiredUpstream(all, requiredUpstream, call, model)];
  const serving = model === undefined ? all : all.filter((one) => one.idOf(model) !== undefined);
  if (serving.length === 0) {
    const hint = createModelHint(model ?? '', models);
    const sentences = [
      `No upstream of this deployment supports ${(model ?? '').slice(0, 128)}.`,
      ...(hint === undefined ? [] : [hint]),
    ];
    throw new NoUpstreamError('not_found_error', `${sentences.join(' ')} GET /models lists the available models.`);
  }
  const able = serving.filter(
    (one) => findMissingFeature(one, call, boundResource) === undefined && !avoids?.(one.name),
  );
  if (able.length === 0) {
    const lack = serving.flatMap((one) => findMissingFeature(one, call, boundResource) ?? [])[0] ?? 'this';
    const others = all
      .filter((one) => findMissingFeature(one, call, boundResource) === undefined)
      .map(({ name }) => name);
    const help =
      others.length > 0 ? `Use a model of ${others.join(', ')}.` : 'Ask its operator to add an upstream that does.';
    const of = model === undefined ? 'of this deployment' : `for ${model.slice(0, 128)}`;
    throw new NoUpstreamError('invalid_request_error', `No upstream ${of} supports ${lack}. ${help}`);
  }
  if (boundResource === undefined) return able;
  const home =
    previousUpstream ??
    (account === undefined ? undefined : homes.get(createCacheLocationKey(models, account, model))?.lastUpstream);
  const owner = able.find(({ name }) => name === home);
  if (owner) return [owner];
  if (previousUpstream !== undefined && all.some(({ name }) => name === previousUpstream)) {
    const name = model === undefined ? 'this' : model.slice(0, 128);
    const message = `This request refers to ${boundResource} of the upstream ${previousUpstream}, which does not support ${name}. Use a model of this upstream, or start another conversation.`;
    throw new NoUpstreamError('invalid_request_error', message);
  }
  return able.slice(0, 1);
}

/** @returns the only upstream that a request may go to. @throws NoUpstreamError if it is gone, or does not take the request */
function findRequiredUpstream(
  all: readonly ConfiguredUpstream[],
  name: string,
  call: RoutableCall,
  model: string | undefined,
): ConfiguredUpstream {
  const one = all.find((upstream) => upstream.name === name);
  if (!one) throw createUpstreamRemovedError(name);
  const isServed = model === undefined || one.idOf(model) !== undefined;
  const lack = isServed ? findMissingFeature(one, call, undefined) : model.slice(0, 128);
  if (lack === undefined) return one;
  const message = `This request refers to data of the upstream ${name}, which does not support ${lack}. Use another model, or create the data again.`;
  throw new NoUpstreamError('invalid_request_error', message);
}

/** @returns the 404 for something at an upstream that the operator has removed from UPSTREAMS. */
export function createUpstreamRemovedError(name: string): NoUpstreamError {
  const message = `This request refers to data of the upstream ${name}, which was removed from this deployment. Create the data again, or ask the operator to add ${name} to UPSTREAMS again.`;
  return new NoUpstreamError('not_found_error', message);
}

function findMissingFeature(
  one: ConfiguredUpstream,
  call: RoutableCall,
  boundResource: UpstreamBoundResourceKind | undefined,
): string | undefined {
  const path = call.path.split('?', 1)[0];
  if (path === COUNT_PATH && !one.entry.count) return 'token counts';
  return (
    one.findUnsupportedFeature(call) ??
    (boundResource === 'a file' ? one.findUnsupportedFeature(LIST_FILES) : undefined)
  );
}

/**
 * @returns the key of an account and model. The caller chooses the model's name, so a name that no table has is shortened.
 */
function createCacheLocationKey(models: ModelTable, account: string, model = ''): string {
  return `${account}\n${models.findRow(model)?.id ?? model.slice(0, MAX_MODEL_NAME_CHARACTERS)}`;
}

/** @returns the names of the upstreams that probably have the prompt of a request in their caches */
export function listUpstreamsWithCachedPrompt(
  { homes, models }: Pick<UpstreamPool, 'homes' | 'models'>,
  { account, model, cachedAt: ofConversation }: UpstreamRoutingInput,
  now: number,
): readonly string[] {
  if (ofConversation !== undefined || account === undefined) return ofConversation ?? [];
  return listUpstreamsWithUnexpiredCache(homes.get(createCacheLocationKey(models, account, model))?.caches ?? {}, now);
}

/** @returns the names of the upstreams whose caches have not expired */
export function listUpstreamsWithUnexpiredCache(caches: CachesByUpstream, now: number): string[] {
  return Object.entries(caches).flatMap(([name, { until }]) => (now < until ? name : []));
}

/** Records which upstream has answered an account. */
export function recordLastUpstream(
  { homes, models }: UpstreamPool,
  { account, model, previousUpstream }: UpstreamRoutingInput,
  name: string,
): void {
  if (account === undefined || previousUpstream !== undefined) return;
  const key = createCacheLocationKey(models, account, model);
  homes.set(key, { caches: homes.get(key)?.caches ?? {}, lastUpstream: name });
}

/** Records that an upstream has cached prompts of an account and model, if the usage of its response shows that. */
export function recordCaches(
  { homes, models }: UpstreamPool,
  { account, model }: Pick<UpstreamRoutingInput, 'account' | 'model'>,
  answer: CachingResponse,
): void {
  if (account === undefined) return;
  const key = createCacheLocationKey(models, account, model);
  const { lastUpstream: last = answer.name, caches = {} } = homes.get(key) ?? {};
  const changed = addCachingResponse(caches, answer);
  if (changed !== caches) homes.set(key, { lastUpstream: last, caches: changed });
}

/** An answer of an upstream, and when it came; milliseconds since 1970. */
interface CachingResponse {
  name: string;
  usage: TokenCounts;
  at: number;
}

const CACHE_MS = { '5m': 5 * MINUTE_MS, '1h': HOUR_MS } as const;

/**
 * @returns what is cached after an answer. Reading a cached prompt renews its lifetime, which usage does not report: it is that of
 *   the last write
 */
export function addCachingResponse(caches: CachesByUpstream, { name, usage, at }: CachingResponse): CachesByUpstream {
  const { fiveMinutes, oneHour } = splitCacheWrites(usage);
  const isRead = (usage.cache_read_input_tokens ?? 0) > 0;
  if (fiveMinutes + oneHour === 0 && !isRead) return caches;
  const before = caches[name];
  const known = isRead && before && at < before.until ? before.lifetimeMs : 0;
  const lifetimeMs = Math.max(known, CACHE_MS[oneHour > 0 ? '1h' : '5m']);
  return { ...caches, [name]: { until: at + lifetimeMs, lifetimeMs } };
}
