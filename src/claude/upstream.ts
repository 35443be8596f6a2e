import { misconfigured } from '../errors.ts';
import type { Settings } from '../settings.ts';
import { createSimulator } from '../simulator/simulator.ts';

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

const upstreams = new WeakMap<Settings, Upstream>();

/**
 * @param fetchUpstream what takes the place of `fetch`; the simulator ignores it
 * @returns the deployment's upstream, the same for each request of an isolate
 * @throws ApiError 500 for the operator when there is no key outside development, or no simulator in the bundle
 */
export function upstreamOf(settings: Settings, fetchUpstream: Fetch = fetch): Upstream {
  const known = upstreams.get(settings);
  if (known) return known;
  const upstream = chooseUpstream(settings, fetchUpstream);
  upstreams.set(settings, upstream);
  return upstream;
}

function chooseUpstream(settings: Settings, fetchUpstream: Fetch): Upstream {
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
  // A detached `fetch` would lose its `this`.
  const call: Fetch = (url, init) => fetchUpstream(url, init);
  return { baseURL: settings.ANTHROPIC_BASE_URL, apiKey, fetch: call, simulated };
}

function simulatorUpstream(settings: Settings): Upstream {
  const simulate = createSimulator({
    models: settings.models.rows.map((row) => ({
      id: row.id,
      display_name: row.display_name,
      // The API gives the epoch for a release date that it does not know, and the table has none.
      created_at: '1970-01-01T00:00:00Z',
      max_input_tokens: row.max_input_tokens,
      max_tokens: row.max_tokens,
      minimum_cacheable_tokens: row.minimum_cacheable_tokens,
      retires_at: row.retires_at,
      replacement: row.replacement,
      aliases: [...row.aliases],
    })),
    ttftMs: settings.SIMULATOR_TTFT_MS,
    tokensPerSecond: settings.SIMULATOR_TOKENS_PER_SECOND,
    faults: settings.development,
  });
  return {
    baseURL: 'https://simulator.invalid',
    apiKey: 'simulator',
    fetch: async (url, init) => byteBody(await simulate(new Request(url, init))),
    simulated: true,
  };
}

/** How long a break waits behind the bytes before it: a copy is read late. */
const BREAK_DELAY_MS = 100;

/**
 * Gives a body made by JavaScript the form of one that came by the network, so that both are relayed by the same code:
 * a stream of bytes, whose break comes after all that was sent before it. (A stream made by JavaScript that errors
 * drops what its readers have not taken yet.)
 */
function byteBody(response: Response): Response {
  const reader = response.body?.getReader();
  if (!reader) return response;
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
