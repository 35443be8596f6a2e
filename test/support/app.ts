import { waitOnExecutionContext } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import type { Hono } from 'hono';
import { onTestFinished, vi } from 'vitest';
import { type AppOptions, createApp } from '#edge/app.ts';
import type { AppEnv } from '#edge/auth/context.ts';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import { ApiError } from '#edge/kit/http/errors.ts';
import { appSettlers, createTrackedContext, trackRequest } from './pending-work.ts';
import { yieldToEventLoop } from './yield-to-event-loop.ts';

/** A request that has reached the upstream. */
export interface SentRequest {
  method: string;
  url: URL;
  headers: Headers;
  body: Uint8Array;
  text: string;
  /** Aborted when nobody waits for the answer any more. */
  signal: AbortSignal | undefined;
}

/** The app in development mode, with a `fetch` of the test's own in place of the upstream. */
export interface TestApp {
  sent: SentRequest[];
  /** The log lines, once everything that a request started has ended. */
  log: Record<string, unknown>[];
  /** @param path or a whole URL, where the host matters */
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** Sends JSON; a string or bytes go as they are. */
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
  /** Waits for what goes on behind the answers. */
  waitUntilSettled(): Promise<void>;
}

/** Waits for what goes on behind the answers of every app of this test: what is settled there would come to the next one. */
export async function waitForAllApps(): Promise<void> {
  for (const settled of appSettlers) await settled();
}

export const TEST_KEY = 'sk-ant-the-key-of-the-deployment';

/**
 * @param answer what the upstream says
 * @param vars settings besides those of development with a key, or bindings in place of the test's own. With an empty MODE the
 *   app is as it is deployed
 * @param overrides what a Worker that is built on the edge decides: its options, and what is around the edge
 */
export function createTestApp(
  answer: (request: SentRequest) => Response | Promise<Response>,
  vars: Record<string, unknown> = {},
  overrides: { options?: AppOptions; around?: (edge: Hono<AppEnv>) => Hono<AppEnv> } = {},
): TestApp {
  const sent: SentRequest[] = [];
  const log: Record<string, unknown>[] = [];
  const console = vi.spyOn(globalThis.console, 'log').mockImplementation((line: string) => {
    // What an earlier test has put on the queue finds that its objects were emptied: none of this test's lines.
    if (line.includes('deleteAllDurableObjects')) return;
    log.push(JSON.parse(line) as Record<string, unknown>);
  });
  onTestFinished(() => console.mockRestore());
  const edge = createApp({
    ...overrides.options,
    fetch: async (url, init) => {
      init.signal?.throwIfAborted();
      const body = new Uint8Array(await new Response(init.body ?? '').arrayBuffer());
      const text = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true }).decode(body);
      const one = {
        method: init.method ?? '',
        url: new URL(url),
        headers: new Headers(init.headers),
        body,
        text,
        signal: init.signal ?? undefined,
      };
      sent.push(one);
      return await Promise.race([answer(one), rejectOnAbort(init.signal)]);
    },
  });
  // As the runtime does when a Worker that exports the app starts.
  void edge.queue;
  const app = overrides.around?.(edge) ?? edge;
  // What a developer has in .dev.vars is none of a test's business.
  const bindings = Object.fromEntries(Object.entries(env).filter(([, value]) => typeof value !== 'string'));
  const { MODE = 'development', ...others } = vars;
  const settings = { ...bindings, ANTHROPIC_API_KEY: TEST_KEY, UPSTREAM: 'anthropic', ...others };
  let contexts: ExecutionContext[] = [];
  const fetch = async (path: string, init?: RequestInit) => {
    const what = `${init?.method ?? 'GET'} ${path}`;
    const context = createTrackedContext(what);
    contexts.push(context);
    const url = path.startsWith('http') ? path : `http://localhost:8787${path}`;
    const request = new Request(url, init);
    // As a browser says it of an address that was typed.
    if (request.method === 'GET' && !request.headers.has('sec-fetch-site'))
      request.headers.set('sec-fetch-site', 'none');
    try {
      // It is asked first, and the app finds what it has parsed.
      parseSettingsOnce(settings, MODE === 'development');
    } catch (thrown) {
      // The app says so by itself.
      if (!(thrown instanceof ApiError)) throw thrown;
    }
    return await trackRequest(Promise.resolve(app.fetch(request, settings, context)), what);
  };
  const made: TestApp = {
    sent,
    log,
    fetch,
    post: (path, body, headers) =>
      fetch(path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
      }),
    waitUntilSettled: async () => {
      const waiting = contexts;
      contexts = [];
      for (const context of waiting) await waitOnExecutionContext(context);
    },
  };
  appSettlers.add(made.waitUntilSettled);
  onTestFinished(() => void appSettlers.delete(made.waitUntilSettled));
  return made;
}

/** As the network's fetch does, a caller's abort ends the wait for headers. */
function rejectOnAbort(signal: AbortSignal | null | undefined): Promise<never> {
  return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason), { once: true }));
}

/** In so many rounds of the loop the readers of a stream have taken what has come. */
const ROUNDS_BEFORE_BREAK = 50;

/** A body that comes in these pieces and then ends, breaks or falls silent, as one from the network would. */
export function createBody(
  pieces: readonly (string | Uint8Array)[],
  end: 'end' | 'cut' | 'silence' = 'end',
): ReadableStream<Uint8Array> {
  const rest = pieces.map((piece) => (typeof piece === 'string' ? new TextEncoder().encode(piece) : piece));
  return new ReadableStream(
    {
      type: 'bytes',
      async pull(controller) {
        const piece = rest.shift();
        if (piece) return controller.enqueue(piece);
        if (end === 'silence') return await new Promise(() => {});
        // A break comes behind the bytes, which the stream would drop if its readers had not taken them yet.
        if (end === 'cut') await yieldToEventLoop(ROUNDS_BEFORE_BREAK);
        if (end === 'cut') return controller.error(new Error('connection reset'));
        controller.close();
        controller.byobRequest?.respond(0);
      },
    },
    { highWaterMark: 0 },
  );
}

/** The `error` of a response in Anthropic's envelope; anything else fails the test. */
export async function readError(response: Response): Promise<{ type: string; message: string; request_id: string }> {
  const text = await response.text();
  const { type, error, request_id } = JSON.parse(text) as {
    type?: unknown;
    error?: { type?: unknown; message?: unknown };
    request_id?: unknown;
  };
  if (type !== 'error' || typeof error?.type !== 'string' || typeof error.message !== 'string') {
    throw new Error(`no envelope: ${text}`);
  }
  return { type: error.type, message: error.message, request_id: String(request_id) };
}
