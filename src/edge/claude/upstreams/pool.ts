/** Finds which upstreams of a deployment can take a request, and where its prompt cache is. */

import { HOUR_MS, MINUTE_MS } from '../../kit/async/durations.ts';
import { getOrMake } from '../../kit/cache/get-or-make.ts';
import { LruCache } from '../../kit/cache/lru.ts';
import { ApiError, DO_NOT_RETRY } from '../../kit/http/errors.ts';
import { modelHint } from '../models/model-hint.ts';
import { LONGEST_MODEL_NAME, type ModelTable } from '../models/models.ts';
import { cacheWrites, type TokenCounts } from '../pricing/cost.ts';
import type { OpenUpstream } from '../providers/entry.ts';
import type { CanonicalCall } from '../providers/kind.ts';
import { HealthBook } from './health.ts';

/** What decides the choice between several upstreams. Not used if there is only one. */
export interface Routing {
  /** The model, as the Claude API names it; undefined if the request has none. */
  model?: string | undefined;
  streams: boolean;
  /** Whether the whole answer should come within a few seconds, as for a count or a list. */
  isQuick?: boolean | undefined;
  /** The account, whose earlier prompts an upstream may have in its cache. */
  account?: string | undefined;
  /** The upstream that answered the turn before: containers and threads of its conversation are there. */
  stays?: string | undefined;
  /** The upstreams that have prompts of its conversation in their caches now. Absent without an earlier turn. */
  cachedAt?: readonly string[] | undefined;
  /** What the request uses that only one upstream has. Then no other upstream is tried. */
  owned?: Owned | undefined;
  /** The name of the upstream that has what the request names, if it is known. The request goes there, or nowhere. */
  only?: string | undefined;
  /** Says of an upstream, by its name, that it need not be asked to count. */
  avoids?: ((name: string) => boolean) | undefined;
}

/** What a request can use that belongs to one upstream. */
export type Owned = 'a file' | 'a container' | 'a thread';

/** The parts of a call that decide which upstreams can take it. */
export type AskedCall = Pick<CanonicalCall, 'method' | 'path' | 'headers'>;

/** The upstreams of the setting UPSTREAMS in their order, with what this isolate knows about them. */
export interface UpstreamPool {
  readonly all: readonly OpenUpstream[];
  readonly health: HealthBook;
  /** Where prompts of an account and model are cached, and which upstream has answered last. */
  readonly homes: LruCache<string, Home>;
  readonly models: ModelTable;
  /** @returns the function that replaces `fetch` for an upstream. */
  fetchOf(upstream: OpenUpstream): (url: string, init: RequestInit) => Promise<Response>;
}

/** What is known of the prompts of an account and model. */
interface Home {
  last: string;
  caches: CachesByUpstream;
}

/** By the name of an upstream: until when prompts are cached there, in milliseconds since 1970, and their lifetime. */
export type CachesByUpstream = Readonly<Record<string, { until: number; lifetimeMs: number }>>;

type IsolateKnowledge = Pick<UpstreamPool, 'health' | 'homes'>;

/**
 * The most lists of upstreams that are remembered. A deployment has one; there are more in tests, or while a setting changes.
 */
const MOST_LISTS = 20;
const MOST_HOMES = 5_000;
const knowledge = new LruCache<string, IsolateKnowledge>({ most: MOST_LISTS });

/** @returns what this isolate knows about a list of upstreams. Its Worker and its objects share it. */
export function isolateKnowledge(list: unknown): IsolateKnowledge {
  return getOrMake(knowledge, JSON.stringify(list), () => ({
    health: new HealthBook(),
    homes: new LruCache({ most: MOST_HOMES }),
  }));
}

/** Thrown if no upstream can take a request, now or later. */
export class NoUpstream extends ApiError {
  constructor(type: 'not_found_error' | 'invalid_request_error', message: string) {
    super(type, message, { headers: DO_NOT_RETRY });
  }
}

const COUNTS = '/v1/messages/count_tokens';
const FILES = { method: 'GET', path: '/v1/files', headers: {} };

/**
 * @returns the upstreams that can take a request, in their order
 * @throws NoUpstream 404 for a model that no upstream serves, or for an upstream that is gone; 400 for a feature that none of
 *   the upstreams with this model has
 */
export function upstreamsFor(
  { all, homes, models }: Pick<UpstreamPool, 'all' | 'homes' | 'models'>,
  call: AskedCall,
  { model, owned, stays, account, only, avoids }: Routing,
): readonly OpenUpstream[] {
  if (only !== undefined) return [namedUpstream(all, only, call, model)];
  const serving = model === undefined ? all : all.filter((one) => one.idOf(model) !== undefined);
  if (serving.length === 0) {
    const hint = modelHint(model ?? '', models);
    const sentences = [
      `No upstream of this edge serves ${(model ?? '').slice(0, 128)}.`,
      ...(hint === undefined ? [] : [hint]),
    ];
    throw new NoUpstream('not_found_error', `${sentences.join(' ')} GET /models lists the models that there are.`);
  }
  const able = serving.filter((one) => lackOf(one, call, owned) === undefined && !avoids?.(one.name));
  if (able.length === 0) {
    const lack = serving.flatMap((one) => lackOf(one, call, owned) ?? [])[0] ?? 'this';
    const others = all.filter((one) => lackOf(one, call, owned) === undefined).map(({ name }) => name);
    const where = others.length > 0 ? `${others.join(', ')} could take it, with another model` : 'None of them could';
    const of = model === undefined ? 'this edge' : model.slice(0, 128);
    throw new NoUpstream('invalid_request_error', `The upstreams of ${of} do not have ${lack}. ${where}.`);
  }
  if (owned === undefined) return able;
  const home = stays ?? (account === undefined ? undefined : homes.get(homeKey(models, account, model))?.last);
  const owner = able.find(({ name }) => name === home);
  if (owner) return [owner];
  if (stays !== undefined && all.some(({ name }) => name === stays)) {
    const name = model === undefined ? 'this' : model.slice(0, 128);
    const message = `The request names ${owned} that the upstream ${stays} has, and that one does not take ${name}.`;
    throw new NoUpstream('invalid_request_error', message);
  }
  return able.slice(0, 1);
}

/** @returns the only upstream that a request may go to. @throws NoUpstream if it is gone, or does not take the request */
function namedUpstream(
  all: readonly OpenUpstream[],
  name: string,
  call: AskedCall,
  model: string | undefined,
): OpenUpstream {
  const one = all.find((upstream) => upstream.name === name);
  if (!one) throw upstreamRemoved(name);
  const isServed = model === undefined || one.idOf(model) !== undefined;
  const lack = isServed ? lackOf(one, call, undefined) : model.slice(0, 128);
  if (lack === undefined) return one;
  const message = `What this request names is at the upstream ${name}, and that one does not have ${lack}.`;
  throw new NoUpstream('invalid_request_error', message);
}

/** @returns the 404 for something at an upstream that the operator has removed from UPSTREAMS. */
export function upstreamRemoved(name: string): NoUpstream {
  const message = `What this request names was made at the upstream ${name}, which this edge no longer has. Make it anew, or ask the operator to bring ${name} back into UPSTREAMS.`;
  return new NoUpstream('not_found_error', message);
}

function lackOf(one: OpenUpstream, call: AskedCall, owned: Owned | undefined): string | undefined {
  const path = call.path.split('?', 1)[0];
  if (path === COUNTS && !one.entry.count) return 'token counts';
  return one.lacks(call) ?? (owned === 'a file' ? one.lacks(FILES) : undefined);
}

/**
 * @returns the key of an account and model. The caller chooses the model's name, so a name that no table has is shortened.
 */
function homeKey(models: ModelTable, account: string, model = ''): string {
  return `${account}\n${models.find(model)?.id ?? model.slice(0, LONGEST_MODEL_NAME)}`;
}

/** @returns the names of the upstreams that probably have the prompt of a request in their caches */
export function cachedAt(
  { homes, models }: Pick<UpstreamPool, 'homes' | 'models'>,
  { account, model, cachedAt: ofConversation }: Routing,
  now: number,
): readonly string[] {
  if (ofConversation !== undefined || account === undefined) return ofConversation ?? [];
  return unexpired(homes.get(homeKey(models, account, model))?.caches ?? {}, now);
}

/** @returns the names of the upstreams whose caches have not expired */
export function unexpired(caches: CachesByUpstream, now: number): string[] {
  return Object.entries(caches).flatMap(([name, { until }]) => (now < until ? name : []));
}

/** Notes which upstream has answered an account. */
export function noteHome({ homes, models }: UpstreamPool, { account, model, stays }: Routing, name: string): void {
  if (account === undefined || stays !== undefined) return;
  const key = homeKey(models, account, model);
  homes.set(key, { caches: homes.get(key)?.caches ?? {}, last: name });
}

/** Notes that an upstream has cached prompts of an account and model, if the usage of its answer says so. */
export function noteCaches(
  { homes, models }: UpstreamPool,
  { account, model }: Pick<Routing, 'account' | 'model'>,
  answer: CachingAnswer,
): void {
  if (account === undefined) return;
  const key = homeKey(models, account, model);
  const { last = answer.name, caches = {} } = homes.get(key) ?? {};
  const changed = withAnswer(caches, answer);
  if (changed !== caches) homes.set(key, { last, caches: changed });
}

/** An answer of an upstream, and when it came; milliseconds since 1970. */
interface CachingAnswer {
  name: string;
  usage: TokenCounts;
  at: number;
}

const CACHE_MS = { '5m': 5 * MINUTE_MS, '1h': HOUR_MS } as const;

/**
 * @returns what is cached after an answer. Reading a cached prompt renews its lifetime, which usage does not report: it is that of
 *   the last write
 */
export function withAnswer(caches: CachesByUpstream, { name, usage, at }: CachingAnswer): CachesByUpstream {
  const { fiveMinutes, oneHour } = cacheWrites(usage);
  const isRead = (usage.cache_read_input_tokens ?? 0) > 0;
  if (fiveMinutes + oneHour === 0 && !isRead) return caches;
  const before = caches[name];
  const known = isRead && before && at < before.until ? before.lifetimeMs : 0;
  const lifetimeMs = Math.max(known, CACHE_MS[oneHour > 0 ? '1h' : '5m']);
  return { ...caches, [name]: { until: at + lifetimeMs, lifetimeMs } };
}
