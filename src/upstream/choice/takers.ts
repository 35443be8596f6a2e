/** Where what is made once, and stays where it was made, is made: a batch, or a file. */

import { candidatesOf } from './candidates.ts';
import { orderOfTries } from './order.ts';
import { type UpstreamPool, upstreamsFor } from './pool.ts';

/** What is made at one upstream, by the call that makes it: each kind says by its `lacks` whether it takes that. */
const MAKING = {
  batches: { method: 'POST', path: '/v1/messages/batches', headers: {} },
  files: { method: 'POST', path: '/v1/files', headers: {} },
} as const;

/** What is made at one upstream. */
export type MadeThing = keyof typeof MAKING;

/**
 * Chooses where a batch or a file is made. Its body may go up once only, so one upstream is chosen before its first byte: the
 * first that takes it and is well. The call itself, and all that follows, goes there alone by `Routing.only`.
 *
 * @param model the one that must be served there; undefined for any
 * @returns the name of the upstream
 * @throws NoUpstream 400 where none takes it, which says which could; 404 for a model that none serves
 */
export function placeFor(pool: UpstreamPool, thing: MadeThing, model?: string): string {
  const now = Date.now();
  const able = upstreamsFor(pool, MAKING[thing], { model, streams: false });
  const ofModel = candidatesOf(pool, able, model, now);
  const choices = candidatesOf(pool, able, undefined, now).map((one, nth) => {
    const other = ofModel[nth];
    return other?.state === 'open' ? other : one;
  });
  const { well, open } = orderOfTries(choices, undefined);
  // Where each has as much as it may, the first one is asked, and says so.
  return [...well, ...open, ...able].map(({ name }) => name)[0] ?? '';
}
