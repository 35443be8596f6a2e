import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inject } from 'vitest';
import { npmStart } from './start.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Whom to ask for the shared edge. */
    sharedStart: string;
  }
}

/** The simulator answers at once: nobody who shares the edge looks at how an answer comes. */
const QUICK = ['--var', 'SIMULATOR_TTFT_MS:0', '--var', 'SIMULATOR_TOKENS_PER_SECOND:0'];

/** What starts the edge that tests share, once the first of them asks for it. */
export interface SharedStart {
  /** Whom they ask. */
  url: string;
  stop(): Promise<void>;
}

/** Listens on loopback, and runs `npm start` for whoever asks first. */
export const offerSharedStart = () => offer(() => npmStart(QUICK));

/**
 * Listens on loopback, and starts an edge for whoever asks first: a run of other tests does without it.
 *
 * @param start starts it
 */
export async function offer(start: () => Promise<{ stop(): Promise<void> }>): Promise<SharedStart> {
  let starting: ReturnType<typeof start> | undefined;
  const server = createServer((_, response) => {
    starting ??= start();
    starting.then(
      (started) => response.end(JSON.stringify(started)),
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
 * Gives a test the edge of `npm start` that others use at the same time. Each has accounts, conversations and names of its
 * own in it, and stops nothing.
 *
 * @returns its URL
 * @throws Error with the output of `npm start` where it does not start
 */
export async function sharedEdge(): Promise<string> {
  return (await offered<{ url: string }>(inject('sharedStart'))).url;
}

/**
 * Asks for what tests share.
 *
 * @param by whom to ask
 * @throws Error with what is said where it does not start
 */
export async function offered<T>(by: string): Promise<T> {
  const response = await fetch(by);
  const said = await response.text();
  if (!response.ok) throw new Error(said);
  return JSON.parse(said) as T;
}
