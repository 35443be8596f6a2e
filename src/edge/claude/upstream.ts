import type { Context } from 'hono';
import type { AppEnv } from '../auth/context.ts';
import type { Settings } from '../config/settings.ts';
import { raceAbort } from '../kit/async/race-abort.ts';
import { createMisconfiguredError } from '../kit/http/errors.ts';
import { registerSecrets } from '../kit/http/secrets.ts';
import { fetchFromNetwork } from './call-network.ts';
import { isEventStream } from './content-type.ts';
import { type ConfiguredUpstream, createConfiguredUpstreams } from './providers/entry.ts';
import { getKeyHealth, type KeyHealth } from './upstreams/key-health.ts';
import { getPoolState, type UpstreamPool } from './upstreams/pool.ts';
import type { KeyRateLimits } from './upstreams/rate-limits.ts';

/** Sends a request up: `fetch`, or what replaces it. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Where requests go: the Claude API, a gateway before it, the built-in simulator, or one of several upstreams. */
export interface Upstream {
  baseURL: string;
  apiKey: string;
  fetch: Fetch;
  /** Whether an answer may be the simulator's. */
  isSimulated: boolean;
  /** The upstreams of the setting UPSTREAMS, if it is set. Then `baseURL` and `apiKey` are empty. */
  pool?: UpstreamPool | undefined;
  /** The health of the key of the only upstream; absent for those of UPSTREAMS, and for the simulator. */
  key?: KeyHealth | undefined;
}

const upstreams = new WeakMap<Settings, { upstream: Upstream; by: Fetch | undefined }>();

/** The function that the apps of this Worker call instead of `fetch`; `conflicting` if they were created with different ones. */
let sharedFetch: Fetch | 'conflicting' | undefined;

/** Makes the Worker's Durable Objects call the upstream in the same way as its app. (They may start without an app.) */
export function shareFetchWithObjects(fetchUpstream: Fetch): void {
  sharedFetch = sharedFetch === undefined || sharedFetch === fetchUpstream ? fetchUpstream : 'conflicting';
}

/**
 * Finds the deployment's upstream by its settings. (Which of several takes a request is decided in `send.ts`.)
 *
 * @param fetchUpstream called instead of `fetch`. Default: the function that an app of this Worker has shared. The simulator
 *   ignores it
 * @returns the deployment's upstream, the same for each request of an isolate
 * @throws ApiError 500 for the operator: without a key outside development, without a simulator in the bundle, or when
 * apps of this Worker have shared different functions
 */
export function getUpstreamBySettings(settings: Settings, fetchUpstream?: Fetch): Upstream {
  const earlier = upstreams.get(settings);
  if (earlier && (earlier.upstream.isSimulated || earlier.by === fetchUpstream)) return earlier.upstream;
  const upstream = createUpstream(settings, fetchUpstream);
  upstreams.set(settings, { upstream, by: fetchUpstream });
  return upstream;
}

/** @returns the upstream as the app calls it that a request came to. @throws ApiError as `getUpstreamBySettings` */
export function getUpstreamOfContext(c: Pick<Context<AppEnv>, 'get'>): Upstream {
  return getUpstreamBySettings(c.get('settings'), c.get('app').fetch);
}

function createUpstream(settings: Settings, ownFetch: Fetch | undefined): Upstream {
  if (settings.UPSTREAMS.length > 0) return createPooledUpstream(settings, ownFetch);
  const { ANTHROPIC_API_KEY: apiKey, UPSTREAM, development } = settings;
  const simulated = UPSTREAM === 'simulator' || (UPSTREAM === undefined && development && apiKey === undefined);
  if (simulated) return getSimulator(settings);
  if (apiKey === undefined) {
    throw createMisconfiguredError(
      'This deployment has no ANTHROPIC_API_KEY. Its operator can set it with: npx wrangler secret put ANTHROPIC_API_KEY',
    );
  }
  registerSecrets('ANTHROPIC_API_KEY', [apiKey]);
  return { baseURL: settings.ANTHROPIC_BASE_URL, apiKey, ...createNetworkFetch(ownFetch), isSimulated: simulated };
}

/** @returns what is known about each key, by the name of its upstream; an empty name is that of the only one. */
export function listKeyHealths({ pool, key }: Upstream): Map<string, KeyHealth> {
  if (pool) return new Map(pool.all.map(({ name }) => [name, pool.health.getKeyHealth(name)]));
  return new Map(key && [['', key]]);
}

/** @returns what is left of the rate limits of the keys, as far as this isolate has not reported it; undefined if there is nothing new */
export function takeUnreportedRateLimits(upstream: Upstream, now: number): KeyRateLimits[] | undefined {
  let all: KeyRateLimits[] | undefined;
  for (const { rateLimits } of listKeyHealths(upstream).values()) {
    const taken = rateLimits.takeUnreported(now);
    if (taken) all = all ? [...all, ...taken] : taken;
  }
  return all;
}

function createNetworkFetch(ownFetch: Fetch | undefined): Required<Pick<Upstream, 'fetch' | 'key'>> {
  const own = ownFetch ?? findSharedFetch();
  return { fetch: own ? wrapFetch(own) : fetchFromNetwork, key: getKeyHealth(own ?? fetchFromNetwork) };
}

function createPooledUpstream(settings: Settings, ownFetch: Fetch | undefined): Upstream {
  const all = createConfiguredUpstreams(settings);
  const { fetch: fetchIt } = createNetworkFetch(ownFetch);
  const simulated = all.some((one) => one.isSimulated);
  const simulate = simulated ? getSimulator(settings).fetch : undefined;
  const fetchOf = (one: ConfiguredUpstream) => (one.isSimulated && simulate ? simulate : fetchIt);
  const pool = { all, models: settings.models, fetchOf, ...getPoolState(settings.UPSTREAMS) };
  return { baseURL: '', apiKey: '', fetch: fetchIt, isSimulated: simulated, pool };
}

/** Makes a Worker's own function behave like `fetch`, because it may ignore the signal, or answer with any kind of stream. */
function wrapFetch(fetchUpstream: Fetch): Fetch {
  return async (url, { signal, ...init }) => {
    signal?.throwIfAborted();
    const response = await (signal
      ? raceAbort(fetchUpstream(url, { ...init, signal }), signal)
      : fetchUpstream(url, init));
    // Only a response from the network has a `url`. A custom `fetch` may return a stream that native pipes and BYOB readers
    // reject, so convert it.
    return toResponseWithByteStream(response, response.url !== '' || !isEventStream(response));
  };
}

function findSharedFetch(): Fetch | undefined {
  if (sharedFetch === 'conflicting') {
    throw createMisconfiguredError(
      'createApp was called with different `fetch` functions in this Worker, and its objects can use only one. Pass the same function to every call.',
    );
  }
  return sharedFetch;
}

let openSimulator: ((settings: Settings) => Upstream) | undefined;

/** Registers the simulator for settings that select it. A deployed Worker does not contain it. */
export function registerSimulator(open: (settings: Settings) => Upstream): void {
  openSimulator = open;
}

/** @throws ApiError 500 where the bundle has no simulator */
function getSimulator(settings: Settings): Upstream {
  if (openSimulator) return openSimulator(settings);
  throw createMisconfiguredError('This bundle does not contain the simulator. Use `npm start`, which adds it.');
}

/** Milliseconds that an error waits after the last bytes, because the metered copy is read late. */
const BREAK_DELAY_MS = 100;

/**
 * Converts a body that was created in JavaScript into the form of one from the network, so that the same code relays both. It
 * becomes a stream of bytes that can be piped into a transform stream, and whose error comes after all bytes before it. (The
 * runtime's own transform streams cannot be piped into each other. A stream made by JavaScript drops unread bytes when it
 * fails.)
 *
 * @param isNetworkLike whether a stream of bytes is known to have that form already
 */
export function toResponseWithByteStream(response: Response, isNetworkLike: boolean): Response {
  if (!response.body || (isNetworkLike && isByteStream(response.body))) return response;
  const reader = response.body.getReader();
  const body = new ReadableStream(
    {
      type: 'bytes',
      async pull(controller) {
        try {
          const { value, done } = await reader.read();
          // A stream may return an empty piece at its end, and `enqueue` of a byte stream throws for an empty one.
          if (value && value.length > 0) controller.enqueue(value);
          if (!done) return;
          controller.close();
          controller.byobRequest?.respond(0);
        } catch (thrown) {
          await new Promise((resolve) => setTimeout(resolve, BREAK_DELAY_MS));
          controller.error(thrown);
        }
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
  return new Response(body, response);
}

function isByteStream(body: ReadableStream): boolean {
  try {
    body.getReader({ mode: 'byob' }).releaseLock();
    return true;
  } catch {
    return false;
  }
}
