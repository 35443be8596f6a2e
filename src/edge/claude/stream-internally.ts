/**
 * Decides which non-streaming requests are streamed internally: they are sent to the upstream as streams, so that less is
 * billed for an interrupted one, and the whole response is assembled here.
 */

import { MINUTE_MS } from '../kit/async/durations.ts';
import { getOrCreate } from '../kit/cache/get-or-create.ts';
import { createLruCache, type LruCache } from '../kit/cache/lru.ts';
import { isObject } from '../kit/json/object.ts';
import type { ClassifiedResponse } from './classify-failure.ts';
import type { BodyChanges } from './providers/provider.ts';
import { isToolRunInContainer } from './request/referenced-ids.ts';
import type { UpstreamRequest } from './send-request.ts';

/** The changes to the body of a request that is streamed internally. */
export const STREAM_CHANGES: BodyChanges = { stream: 'true' };

/** With this beta the input of a tool may be invalid JSON, which a non-streaming response cannot contain. */
const LOOSE_INPUT = /\bfine-grained-tool-streaming-/;

/** Statuses with which an upstream may reject a stream. */
const STREAM_REJECTION_STATUSES: ReadonlySet<number> = new Set([400, 405, 415, 422]);
/** How long to remember that an upstream rejects streams, in milliseconds, and for how many accounts. */
const NO_STREAM_MS = 10 * MINUTE_MS;
const MAX_NO_STREAM_ENTRIES = 1_000;

/**
 * The time until which requests are not streamed internally, by account and upstream. A caller can provoke a rejection, so it
 * affects only its own account. Each isolate keeps its own list.
 */
const noStreamUntil = new WeakMap<object, LruCache<string, number>>();

/** @returns whether a streaming and a non-streaming response to the request have the same content. */
export function isAnswerSameWhenStreamed(
  { tools, max_tokens }: Readonly<Record<string, unknown>>,
  headers: Headers | Readonly<Record<string, string>>,
): boolean {
  const betas = headers instanceof Headers ? headers.get('anthropic-beta') : headers['anthropic-beta'];
  // A request with `max_tokens: 0` only writes the prompt cache, and the API rejects it with `stream: true`:
  // https://platform.claude.com/docs/en/build-with-claude/prompt-caching
  if (max_tokens === 0 || LOOSE_INPUT.test(betas ?? '')) return false;
  if (!Array.isArray(tools)) return true;
  // A stream may omit the `container` that the API includes in a non-streaming response to such tools.
  return !tools.some((tool) => (isObject(tool) && Boolean(tool.eager_input_streaming)) || isToolRunInContainer(tool));
}

/** @returns whether to stream a request internally. @param owner the pool, or the only upstream @param upstreamName its name */
export function shouldStreamInternally(
  owner: object,
  { streamInternally = false, routing }: UpstreamRequest,
  upstreamName = '',
): boolean {
  if (!streamInternally) return false;
  const refusedUntil = noStreamUntil.get(owner)?.get(createStreamRefusalKey(routing, upstreamName)) ?? 0;
  return refusedUntil <= Date.now();
}

/** Records that an upstream rejected a stream, but accepted the same request without streaming. */
export function recordStreamRefusal(owner: object, { routing }: UpstreamRequest, upstreamName = ''): void {
  const models = getOrCreate(noStreamUntil, owner, () => createLruCache<string, number>(MAX_NO_STREAM_ENTRIES));
  models.set(createStreamRefusalKey(routing, upstreamName), Date.now() + NO_STREAM_MS);
}

function createStreamRefusalKey(routing: UpstreamRequest['routing'], upstreamName: string): string {
  return `${upstreamName}\n${routing?.account ?? ''}`;
}

/**
 * @returns whether an upstream has rejected a request only because it is streamed internally: the error is about streaming, which
 *   the caller has not requested, and bills nothing
 */
export function isStreamRejection(
  { status }: Response,
  { kind, mayHaveRun }: ClassifiedResponse,
  text: string,
): boolean {
  return (
    STREAM_REJECTION_STATUSES.has(status) && kind === 'request' && !mayHaveRun && /\bstream(?:ing|s)?\b/i.test(text)
  );
}
