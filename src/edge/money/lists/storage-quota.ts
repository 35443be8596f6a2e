/** Compares how much an account stores with how much it may: conversations, and bytes of everything that is kept for it. */

import { Rows } from '../../durable/rows.ts';
import type { Tables } from '../../durable/tables.ts';
import type { QuotaReport } from '../account/usage-answers.schema.ts';
import type { Limits } from '../budget/limits.schema.ts';
import type { StorageRefusal, StorageRequest } from '../contracts/admission.ts';
import type { Versions } from '../versions/version-rows.ts';
import type { ConversationList } from './conversation-list.ts';
import type { OwnershipList } from './ownership-list.ts';

/** How many conversations an account may store if its limits do not say it. */
const DEFAULT_MAX_CONVERSATIONS = 10_000;
const DEFAULT_STORED_BYTES = 1_000_000_000;
/** If an admitted conversation has not reported itself after this time, it does not exist. Milliseconds. */
const EXPECTED_MS = 30_000;

type StoredSums = Record<'count' | 'bytes' | 'versions' | 'resources', number>;
const NOTHING_STORED = { count: 0, bytes: 0, versions: 0, resources: 0, own: null };

/** Compares what an account stores with what it may store. */
export class StorageQuota extends Rows {
  readonly #conversations: ConversationList;
  readonly #versions: Versions;
  readonly #ownership: OwnershipList;
  /** Whether the lists know their sums. */
  #isRead = false;
  /**
   * Admitted conversations that are not in the list yet. Only in memory: after the object has slept, they count when they
   * report.
   */
  readonly #expected = new Map<string, { bytes: number; until: number }>();

  constructor(tables: Tables, conversations: ConversationList, versions: Versions, ownership: OwnershipList) {
    super(tables);
    this.#conversations = conversations;
    this.#versions = versions;
    this.#ownership = ownership;
  }

  /** @returns the limit that a request would exceed; undefined if it exceeds none. */
  exceededLimit(request: StorageRequest, limits: Limits, now: number): StorageRefusal | undefined {
    this.#expire(now);
    const { conversation } = request;
    const { conversations, stored_bytes } = limitsOf(limits);
    const { count, bytes: used } = this.#used(conversation);
    const isNew =
      conversation !== undefined && !this.#expected.has(conversation) && !this.#conversations.has(conversation);
    if (isNew && count >= conversations) return { limit: 'conversations', most: conversations };
    return used + this.sizeOf(request) > stored_bytes ? { limit: 'stored_bytes', most: stored_bytes } : undefined;
  }

  /** Counts the bytes of an admitted request until its conversation reports its size. */
  expect(request: StorageRequest, now: number): void {
    const { conversation } = request;
    if (conversation === undefined) return;
    this.#expected.set(conversation, { bytes: this.sizeOf(request), until: now + EXPECTED_MS });
  }

  /** Stops counting what `expect` has counted, because the conversation has reported itself, or never will. */
  noteArrival(conversation: string): void {
    this.#expected.delete(conversation);
  }

  /** @returns the bytes that all versions together may have. */
  leftForVersions(limits: Limits, now: number): number {
    this.#expire(now);
    return limitsOf(limits).stored_bytes - (this.#used().bytes - this.#versions.bytes);
  }

  /** @returns how many bytes a file may have, and the limit from which this follows. */
  leftForFile(limits: Limits, now: number): { left: number; most: number } {
    this.#expire(now);
    const { stored_bytes: most } = limitsOf(limits);
    return { left: Math.max(0, most - this.#used().bytes), most };
  }

  /** @returns how much is stored and how much may be stored, in the form of answers. */
  report(limits: Limits, now: number): Pick<QuotaReport, 'conversations' | 'stored_bytes'> {
    this.#expire(now);
    const { conversations, stored_bytes } = limitsOf(limits);
    const { count, bytes } = this.#used();
    return { conversations: { limit: conversations, used: count }, stored_bytes: { limit: stored_bytes, used: bytes } };
  }

  /** @param besides a conversation about which more will be asked */
  #used(besides?: string): { count: number; bytes: number } {
    if (!this.#isRead) this.#readSums(besides);
    let { count, bytes } = this.#conversations.totals;
    bytes += this.#versions.bytes + this.#ownership.bytes;
    for (const [id, coming] of this.#expected) {
      if (!this.#conversations.has(id)) count += 1;
      bytes += coming.bytes;
    }
    return { count, bytes };
  }

  /** Reads the sums of all three lists, and of one conversation, by one statement: four take twice as long. */
  #readSums(conversation: string | undefined): void {
    const [row = NOTHING_STORED] = this.tables.read<StoredSums & { own: number | null }>(
      `select count(*) as count, coalesce(sum(bytes), 0) as bytes,
         (select bytes from conversations where id = ?) as own,
         (select coalesce(sum(bytes), 0) from versions) as versions,
         (select coalesce(sum(bytes), 0) from owned_resources where state != 'gone') as resources
       from conversations`,
      conversation ?? null,
    );
    this.#isRead = true;
    const own = conversation === undefined || row.own === null ? undefined : { id: conversation, bytes: row.own };
    this.#conversations.setTotals(row, own);
    this.#versions.setBytes(row.versions);
    this.#ownership.setBytes(row.resources);
  }

  /** @returns how many bytes a request stores, as far as they are known. */
  sizeOf({ bytes, copyOf }: StorageRequest): number {
    if (copyOf === undefined) return bytes;
    return bytes + (this.#conversations.bytesOf(copyOf) ?? 0) + (this.#expected.get(copyOf)?.bytes ?? 0);
  }

  #expire(now: number): void {
    for (const [id, { until }] of this.#expected) if (until <= now) this.#expected.delete(id);
  }
}

function limitsOf({ conversations = DEFAULT_MAX_CONVERSATIONS, stored_bytes = DEFAULT_STORED_BYTES }: Limits) {
  return { conversations, stored_bytes };
}
