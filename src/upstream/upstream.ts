import { misconfigured } from '../http/errors.ts';
import type { Settings } from '../settings/settings.ts';
import { createSimulator } from '../simulator/simulator.ts';
import { isEventStream } from './content-type.ts';
import { simulatedModels } from './simulated-models.ts';

/** How a request goes up: `fetch`, or whatever stands in its place. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Where requests go: the Claude API, a gateway before it, or the built-in simulator. */
export interface Upstream {
  baseURL: string;
  apiKey: string;
  fetch: Fetch;
  simulated: boolean;
}

/**
 * Whether the simulator is part of this bundle. wrangler.toml says that it is not: what is deployed does not even have
 * it. Where no bundler says anything, it is.
 */
declare const SLUICE_SIMULATOR: boolean | undefined;

const upstreams = new WeakMap<Settings, { upstream: Upstream; by: Fetch | undefined }>();

/** What the apps of this Worker call in the place of `fetch`. */
const sharedFetches = new Set<Fetch>();

/** Has the Worker's objects go upstream as its app does: they wake without any app. */
export function shareFetch(fetchUpstream: Fetch): void {
  sharedFetches.add(fetchUpstream);
}

/**
 * @param fetchUpstream what takes the place of `fetch`; without it, what an app of this Worker shares. The simulator
 * ignores it
 * @returns the deployment's upstream, the same for each request of an isolate
 * @throws ApiError 500 for the operator when there is no key outside development, no simulator in the bundle, or no telling
 * whose `fetch` it is
 */
export function upstreamOf(settings: Settings, fetchUpstream?: Fetch): Upstream {
  const known = upstreams.get(settings);
  if (known && (known.upstream.simulated || known.by === fetchUpstream)) return known.upstream;
  const upstream = chooseUpstream(settings, fetchUpstream);
  upstreams.set(settings, { upstream, by: fetchUpstream });
  return upstream;
}

function chooseUpstream(settings: Settings, given: Fetch | undefined): Upstream {
  const { ANTHROPIC_API_KEY: apiKey, UPSTREAM, development } = settings;
  const simulated = UPSTREAM === 'simulator' || (UPSTREAM === undefined && development && apiKey === undefined);
  if (simulated) {
    // Written out, since the bundler drops only what it sees at this place to be dead.
    if (typeof SLUICE_SIMULATOR === 'undefined' || SLUICE_SIMULATOR) return simulatorUpstream(settings);
    throw misconfigured('This bundle has no simulator. `npm start` makes one that has it.');
  }
  if (apiKey === undefined) {
    throw misconfigured(
      'This deployment has no ANTHROPIC_API_KEY. Its operator sets it with: npx wrangler secret put ANTHROPIC_API_KEY',
    );
  }
  const own = given ?? sharedFetch();
  return { baseURL: settings.ANTHROPIC_BASE_URL, apiKey, fetch: own ? likeFetch(own) : callFetch, simulated };
}

/** A detached `fetch` would lose its `this`. */
const callFetch: Fetch = (url, init) => fetch(url, init);

/** A function of the Worker's own may overlook that it was aborted, and answer with any body. */
function likeFetch(own: Fetch): Fetch {
  return async (url, { signal, ...init }) => {
    signal?.throwIfAborted();
    const aborted = new Promise<never>((_, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
    const response = await Promise.race([own(url, signal ? { ...init, signal } : init), aborted]);
    // Only what came by a request has an address; of any other stream nobody knows what it is made of.
    return byteBody(response, response.url !== '' || !isEventStream(response));
  };
}

function sharedFetch(): Fetch | undefined {
  if (sharedFetches.size > 1) {
    throw misconfigured(
      'Apps of this Worker were made with different `fetch` functions: its objects cannot know which one is theirs. Give all of them the same.',
    );
  }
  const [only] = sharedFetches;
  return only;
}

function simulatorUpstream(settings: Settings): Upstream {
  const simulate = createSimulator({
    models: simulatedModels(settings.models.rows),
    ttftMs: settings.SIMULATOR_TTFT_MS,
    tokensPerSecond: settings.SIMULATOR_TOKENS_PER_SECOND,
    faults: settings.development,
  });
  return {
    baseURL: 'https://simulator.invalid',
    apiKey: 'simulator',
    fetch: async (url, init) => byteBody(await simulate(new Request(url, init)), true),
    simulated: true,
  };
}

/** How long a break waits behind the bytes before it: a copy is read late. */
const BREAK_DELAY_MS = 100;

/**
 * Gives a body made by JavaScript the form of one that came by the network, so that both are relayed by the same code:
 * a stream of bytes that can be piped into a transform stream, and whose break comes after all that was sent before it.
 * (One of the runtime's own transform streams cannot be piped into another, and a stream made by JavaScript that errors
 * drops what its readers have not taken yet.)
 *
 * @param isKnown whether a body of bytes has that form already
 */
function byteBody(response: Response, isKnown: boolean): Response {
  if (!response.body || (isKnown && isOfBytes(response.body))) return response;
  const reader = response.body.getReader();
  const body = new ReadableStream(
    {
      type: 'bytes',
      async pull(controller) {
        try {
          const { value, done } = await reader.read();
          if (value) controller.enqueue(value);
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

function isOfBytes(body: ReadableStream): boolean {
  try {
    body.getReader({ mode: 'byob' }).releaseLock();
    return true;
  } catch {
    return false;
  }
}
