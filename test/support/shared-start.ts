import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { beforeEach, inject } from 'vitest';
import { runNpmStart, type StartedProduct } from './start.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Whom to ask for the shared edge. */
    sharedStart: string;
  }
}

/** The simulator answers at once: nobody who shares the edge looks at how an answer comes. */
const QUICK_OPTIONS = ['--var', 'SIMULATOR_TTFT_MS:0', '--var', 'SIMULATOR_TOKENS_PER_SECOND:0'];

/** What starts the edge that tests share, once the first of them asks for it. */
export interface SharedStart {
  /** Whom they ask. */
  url: string;
  stop(): Promise<void>;
}

/** Oftener than wrangler closes a connection inside of it that rests. On a busy machine a request would go into one. */
const KEEP_AWAKE_MS = 2_000;

/** Keeps the connections inside of an edge from resting, until it is stopped. */
function keepAwake(edge: StartedProduct): StartedProduct {
  const asking = setInterval(() => {
    // Whoever looks at the edge finds out what is wrong with it.
    fetch(`${edge.url}/health`).then(
      (response) => response.text(),
      () => undefined,
    );
  }, KEEP_AWAKE_MS);
  return {
    ...edge,
    stop: async (signal) => {
      clearInterval(asking);
      await edge.stop(signal);
    },
  };
}

/** Listens on loopback, and runs `npm start` for whoever asks first. */
export const offerSharedStart = () => offerStart(async () => keepAwake(await runNpmStart(QUICK_OPTIONS)));

/** Where the last lines of the edge are. */
const OUTPUT_PATH = '/said';
/** So many of them: what came in the test that failed, and somewhat before it. */
const MAX_OUTPUT_LINES = 100;

/**
 * Listens on loopback, and starts an edge for whoever asks first: a run of other tests does without it.
 *
 * @param start starts it
 */
export async function offerStart(
  start: () => Promise<{ stop(): Promise<void>; output?(): string }>,
): Promise<SharedStart> {
  let starting: ReturnType<typeof start> | undefined;
  const server = createServer(({ url: path }, response) => {
    starting ??= start();
    starting.then(
      (started) =>
        response.end(
          path === OUTPUT_PATH
            ? started.output?.().split('\n').slice(-MAX_OUTPUT_LINES).join('\n')
            : JSON.stringify(started),
        ),
      (thrown: unknown) => response.writeHead(500).end(String(thrown)),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: async () => {
      server.close();
      // Where it did not start, whoever asked was told.
      const started = await starting?.catch(() => undefined);
      await started?.stop();
    },
  };
}

/**
 * Gives the tests of a file the edge of `npm start` that others use at the same time. Each has accounts, conversations and
 * names of its own in it, and stops nothing. Where one fails, the last lines of the edge are printed. For the top of a file.
 *
 * @returns a function that gives its URL; it throws an error with the output of `npm start` where that does not start
 */
export function openSharedEdge(): () => Promise<string> {
  const by = inject('sharedStart');
  beforeEach(({ onTestFailed }) => {
    onTestFailed(async () => {
      // biome-ignore lint/suspicious/noConsole: a test has failed.
      console.error(`The shared edge has said last:\n${await fetchText(by + OUTPUT_PATH)}`);
    });
  });
  return async () => (await requestShared<{ url: string }>(by)).url;
}

/**
 * Asks for what tests share.
 *
 * @param url whom to ask
 * @throws Error with what is said where it does not start
 */
export const requestShared = async <T>(url: string): Promise<T> => JSON.parse(await fetchText(url)) as T;

async function fetchText(url: string): Promise<string> {
  const response = await fetch(url);
  const text = await response.text();
  if (!response.ok) throw new Error(text);
  return text;
}
