/** Reserves the isolate's memory for what the tools of a run answer, and for what its steps send up. */

import { getMemorySharingGroup } from '../../auth/identity/identity.ts';
import { BodyMemoryShare, bodyMemory } from '../../kit/http/body-memory.ts';

/** Who takes memory. */
interface MemoryOwner {
  account: string;
  conversation: string;
  /** Aborted when the run is stopped. */
  signal: AbortSignal;
}

/** A result is in memory in so many forms at once: as it came, as text, as it is stored and as it is shown. */
const COPIES_IN_MEMORY = 4;
/** What a run that goes on after a crash takes until it has read what it needs. So a few do that at the same time. */
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
 * Waits for memory. Never call it while the run has other memory: it might wait for ever for what it holds itself.
 *
 * @param bytes of an answer, or of a body; it takes a multiple of that
 * @param leftMs milliseconds that are left of the run
 * @throws ApiError 503 if there is none in time; the reason of the signal
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
