/** Chooses the upstream for a batch or a file, which stays where it was made. */

import { createCandidates, orderUpstreams } from './order.ts';
import { findUpstreams, type UpstreamPool } from './pool.ts';

/** The calls that create a batch or a file. The `lacks` of each kind of upstream lists the calls that it does not support. */
const CREATE_CALLS = {
  batches: { method: 'POST', path: '/v1/messages/batches', headers: {} },
  files: { method: 'POST', path: '/v1/files', headers: {} },
} as const;

export type CreatableResource = keyof typeof CREATE_CALLS;

/**
 * Chooses where a batch or a file is made. Its body may be sent only once, so one upstream is chosen before the first byte: the
 * first one that takes the call and works. The call and all later ones go only there, by `UpstreamRoutingInput.only`.
 *
 * @param model the model that must be served there; undefined for any
 * @returns the name of the upstream
 * @throws NoUpstreamError 400 if no upstream takes the call; 404 for a model that none serves
 */
export function chooseUpstreamForNewResource(pool: UpstreamPool, thing: CreatableResource, model?: string): string {
  const now = Date.now();
  const able = findUpstreams(pool, CREATE_CALLS[thing], { model, streams: false });
  const ofModel = createCandidates(pool, able, model, now);
  const choices = createCandidates(pool, able, undefined, now).map((one, nth) => {
    const other = ofModel[nth];
    return other?.state === 'open' ? other : one;
  });
  const { available: well, open } = orderUpstreams(choices, []);
  // If every upstream is full, choose the first one anyway: its rejection names the reason.
  return [...well, ...open, ...able].map(({ name }) => name)[0] ?? '';
}
