/** Compares how much an account stores with how much it may: conversations, and bytes of everything that is kept for it. */

import { TableRowsBase } from '../../durable/rows.ts';
import type { SqlTables } from '../../durable/tables.ts';
import type { QuotaReport } from '../account/usage-answers.schema.ts';
import type { Limits } from '../budget/limits.schema.ts';
import type { StorageLimitRejection, StorageReservationRequest } from '../contracts/admission.ts';
import type { ConversationList } from './conversation-list.ts';

/** How many conversations an account may store if its limits do not say it. */
const DEFAULT_MAX_CONVERSATIONS = 10_000;
const DEFAULT_STORED_BYTES = 1_000_000_000;
/** If an admitted conversation has not reported itself after this time, it does not exist. Milliseconds. */
const EXPECTED_MS = 30_000;

/** Compares what an account stores with what it may store. */
export class StorageQuota extends TableRowsBase {
  readonly #conversations: ConversationList;
  /**
   * Admitted conversations that are not in the list yet. Only in memory: after the object has slept, they count when they
   * report.
   */
  readonly #expected = new Map<string, { bytes: number; until: number }>();

  constructor(tables: SqlTables, conversations: ConversationList) {
    super(tables);
    this.#conversations = conversations;
  }

  /** @returns the limit that a request would exceed; undefined if it exceeds none. */
  findExceededLimit(
    request: StorageReservationRequest,
    limits: Limits,
    now: number,
  ): StorageLimitRejection | undefined {
    this.#dropOldExpectedBytes(now);
    const { conversation } = request;
    const { conversations, stored_bytes } = applyDefaultStorageLimits(limits);
    const { count, bytes: used } = this.#computeUsedStorage();
    const isNew =
      conversation !== undefined && !this.#expected.has(conversation) && !this.#conversations.has(conversation);
    if (isNew && count >= conversations) return { limit: 'conversations', most: conversations };
    return used + this.computeStoredBytes(request) > stored_bytes
      ? { limit: 'stored_bytes', most: stored_bytes }
      : undefined;
  }

  /** Counts the bytes of an admitted request until its conversation reports its size. */
  addExpectedBytes(request: StorageReservationRequest, now: number): void {
    const { conversation } = request;
    if (conversation === undefined) return;
    this.#expected.set(conversation, { bytes: this.computeStoredBytes(request), until: now + EXPECTED_MS });
  }

  /** Stops counting what `expect` has counted, because the conversation has reported itself, or never will. */
  dropExpectedBytes(conversation: string): void {
    this.#expected.delete(conversation);
  }

  /** @returns the bytes that all versions together may have. */
  computeBytesLeftForVersions(limits: Limits, now: number): number {
    this.#dropOldExpectedBytes(now);
    const { bytes, versionBytes } = this.#computeUsedStorage();
    return applyDefaultStorageLimits(limits).stored_bytes - (bytes - versionBytes);
  }

  /** @returns how many bytes a file may have, and the limit from which this follows. */
  computeBytesLeftForFile(limits: Limits, now: number): { left: number; most: number } {
    this.#dropOldExpectedBytes(now);
    const { stored_bytes: most } = applyDefaultStorageLimits(limits);
    return { left: Math.max(0, most - this.#computeUsedStorage().bytes), most };
  }

  /** @returns how much is stored and how much may be stored, in the form of answers. */
  reportStorageUsage(limits: Limits, now: number): Pick<QuotaReport, 'conversations' | 'stored_bytes'> {
    this.#dropOldExpectedBytes(now);
    const { conversations, stored_bytes } = applyDefaultStorageLimits(limits);
    const { count, bytes } = this.#computeUsedStorage();
    return { conversations: { limit: conversations, used: count }, stored_bytes: { limit: stored_bytes, used: bytes } };
  }

  /** @returns how many conversations there are, and the bytes of everything, those of versions among them */
  #computeUsedStorage(): { count: number; bytes: number; versionBytes: number } {
    const totals = this.tables.readTotals('conversations', 'versions', 'owned_resources');
    let { count, bytes } = totals.conversations;
    bytes += totals.versions.bytes + totals.owned_resources.bytes;
    for (const [id, coming] of this.#expected) {
      if (!this.#conversations.has(id)) count += 1;
      bytes += coming.bytes;
    }
    return { count, bytes, versionBytes: totals.versions.bytes };
  }

  /** @returns how many bytes a request stores, as far as they are known. */
  computeStoredBytes({ bytes, copyOf }: StorageReservationRequest): number {
    if (copyOf === undefined) return bytes;
    return bytes + (this.#conversations.getReportedBytes(copyOf) ?? 0) + (this.#expected.get(copyOf)?.bytes ?? 0);
  }

  #dropOldExpectedBytes(now: number): void {
    for (const [id, { until }] of this.#expected) if (until <= now) this.#expected.delete(id);
  }
}

function applyDefaultStorageLimits({
  conversations = DEFAULT_MAX_CONVERSATIONS,
  stored_bytes = DEFAULT_STORED_BYTES,
}: Limits) {
  return { conversations, stored_bytes };
}
