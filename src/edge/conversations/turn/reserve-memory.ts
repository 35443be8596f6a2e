/** Reserves the isolate's memory for the results of a run's tools, and for the requests of its steps. */

import { getMemorySharingGroup } from '../../auth/identity/identity.ts';
import { BodyMemoryShare, bodyMemory } from '../../kit/http/body-memory.ts';

/** The owner of reserved memory. */
interface MemoryOwner {
  account: string;
  conversation: string;
  /** Aborted when the run is stopped. */
  signal: AbortSignal;
}

/** A result is in memory in so many forms at once: as it came, as text, as it is stored and as it is shown. */
const COPIES_IN_MEMORY = 4;
/** The memory that a run reserves while it is resumed after a crash. It limits how many runs are resumed at the same time. */
export const RESUMING_BYTES = 2 * 1024 * 1024;
/** The longest that memory is waited for: a step that is sent has its memory until its model begins to answer. */
const MAX_MEMORY_WAIT_MS = 600_000;

/** @returns the name by which the memory of a conversation's object is known, even after its death */
export function createMemoryOwnerName({
  account,
  conversation,
}: Pick<MemoryOwner, 'account' | 'conversation'>): string {
  return JSON.stringify([account, conversation]);
}

/**
 * Waits for memory. Never call it while the run holds other memory: it might wait for ever for its own memory.
 *
 * @param bytes the size of a result or of a body; a multiple of it is reserved
 * @param leftMs the milliseconds that the run has left
 * @throws ApiError 503 if no memory becomes free in time; the reason of the signal
 */
export async function waitForMemory(
  share: BodyMemoryShare,
  bytes: number,
  leftMs: number,
  taker: MemoryOwner,
): Promise<void> {
  share.setSender({ account: taker.account, group: getMemorySharingGroup(taker.account) });
  await share.waitForBytes(
    bytes * COPIES_IN_MEMORY,
    createMemoryOwnerName(taker),
    Math.min(leftMs, MAX_MEMORY_WAIT_MS),
    taker.signal,
  );
}

export const createMemoryShare = () => new BodyMemoryShare(bodyMemory);
