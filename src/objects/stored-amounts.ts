/** How much an account stores against how much it may: conversations, and bytes of all that is kept for it. */
import { ApiError, DO_NOT_RETRY } from '../errors.ts';
import type { StandingReport } from '../schemas/answers/usage.ts';
import type { Limits } from '../schemas/limits.ts';
import type { ConversationList } from './conversation-list.ts';
import type { Versions } from './versions.ts';

/** What an account may store whose limits say nothing about it. */
const MOST_CONVERSATIONS = 10_000;
const MOST_BYTES = 1_000_000_000;
/** What was admitted and has not said by then that it is there did not come to be. */
const COMING_MS = 30_000;

/** The columns that came after the first list of conversations. */
export const STORED_SQL = 'alter table conversations add column bytes integer not null default 0;';

/** What a request is going to store. */
export interface Storing {
  /** A conversation that it adds to, or makes. */
  conversation?: string | undefined;
  bytes: number;
  /** As many bytes again as this conversation has. */
  copyOf?: string | undefined;
}

/** A limit that leaves no room for it. */
export interface Full {
  limit: 'conversations' | 'stored_bytes';
  most: number;
}

export class StoredAmounts {
  readonly #conversations: ConversationList;
  readonly #versions: Versions;
  /** What was admitted and is not in the list yet. In memory: an object that sleeps in between counts it a little later. */
  readonly #coming = new Map<string, { bytes: number; until: number }>();

  constructor(conversations: ConversationList, versions: Versions) {
    this.#conversations = conversations;
    this.#versions = versions;
  }

  /** @returns which limit a request would exceed, or undefined where there is room. */
  full({ conversation, bytes, copyOf }: Storing, limits: Limits, now: number): Full | undefined {
    this.#expire(now);
    const { conversations, stored_bytes } = limitsOf(limits);
    const { count, bytes: used } = this.#used();
    const isNew =
      conversation !== undefined && !this.#coming.has(conversation) && !this.#conversations.has(conversation);
    if (isNew && count >= conversations) return { limit: 'conversations', most: conversations };
    const more = bytes + this.#copied(copyOf);
    return used + more > stored_bytes ? { limit: 'stored_bytes', most: stored_bytes } : undefined;
  }

  /** Counts what was admitted until it says itself how large it is. */
  expect({ conversation, bytes, copyOf }: Storing, now: number): void {
    if (conversation === undefined) return;
    this.#coming.set(conversation, { bytes: bytes + this.#copied(copyOf), until: now + COMING_MS });
  }

  /** What was expected has reported itself. */
  arrived(conversation: string): void {
    this.#coming.delete(conversation);
  }

  /** @returns the bytes that versions may have in all. */
  roomForVersions(limits: Limits, now: number): number {
    this.#expire(now);
    return limitsOf(limits).stored_bytes - (this.#used().bytes - this.#versions.bytes);
  }

  /** @returns what is stored and what may be, for people. */
  report(limits: Limits, now: number): Pick<StandingReport, 'conversations' | 'stored_bytes'> {
    this.#expire(now);
    const { conversations, stored_bytes } = limitsOf(limits);
    const { count, bytes } = this.#used();
    return {
      conversations: { limit: conversations, used: count },
      stored_bytes: { limit: stored_bytes, used: bytes },
    };
  }

  #used(): { count: number; bytes: number } {
    let { count, bytes } = this.#conversations.totals;
    bytes += this.#versions.bytes;
    for (const [id, coming] of this.#coming) {
      if (!this.#conversations.has(id)) count += 1;
      bytes += coming.bytes;
    }
    return { count, bytes };
  }

  #copied(from: string | undefined): number {
    return from === undefined ? 0 : (this.#conversations.bytesOf(from) ?? 0);
  }

  #expire(now: number): void {
    for (const [id, { until }] of this.#coming) if (until <= now) this.#coming.delete(id);
  }
}

/** @returns the error for what has no room: only who deletes something, or the operator, makes some. */
export function fullError({ limit, most }: Full): ApiError {
  const message =
    limit === 'conversations'
      ? `This account has ${most} conversations, as many as its limit conversations allows. Delete some, or ask the operator for more.`
      : `This does not fit into the ${most} bytes that the limit stored_bytes of this account allows. Delete some of what is stored, or ask the operator for more.`;
  return new ApiError('invalid_request_error', message, {
    headers: { ...DO_NOT_RETRY, 'sluice-limited-by': 'account' },
  });
}

function limitsOf({ conversations = MOST_CONVERSATIONS, stored_bytes = MOST_BYTES }: Limits) {
  return { conversations, stored_bytes };
}
