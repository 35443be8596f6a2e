import { computeDigest, type Digest, digestToHex } from '../random/digest.ts';
import { createInvalidRequestError } from '../request/errors.ts';
import type { CacheLifetime } from '../request/message-request.ts';
import { setMostRecent } from '../store/set-most-recent.ts';
import type { PromptBlock } from './prompt-blocks.ts';

/** The tokens of a prompt by what the cache does with them. Their sum is the answer of `count_tokens`. */
export interface CacheUsage {
  /** Neither read from the cache nor written to it. */
  uncached: number;
  read: number;
  written5m: number;
  written1h: number;
}

export interface CachePlan {
  usage: CacheUsage;
  /** Stores what the request writes, and renews what it reads. Call it when the first byte of the answer is sent. */
  commitToCache(): void;
}

interface CachedPrefixEntry {
  lifetime: CacheLifetime;
  /** Milliseconds since the epoch. */
  expiresAt: number;
}

const LIFETIME_MS: Record<CacheLifetime, number> = { '5m': 300_000, '1h': 3_600_000 };
const MAX_ENTRIES = 10_000;
const MAX_BREAKPOINTS = 4;
/**
 * A breakpoint finds entries at its own block and at the nineteen blocks before:
 * https://platform.claude.com/docs/en/build-with-claude/prompt-caching
 */
const LOOKBACK = 20;

/**
 * Puts the breakpoint of automatic caching after the last block that can have one, and checks all breakpoints.
 * @throws ApiError 400 for more than four, for one of 1h that comes after one of 5m, and for two lifetimes of the last block.
 */
export function placeAutomaticBreakpoint(blocks: PromptBlock[], automatic: CacheLifetime | undefined): void {
  const found = blocks.reduce((sum, block) => sum + block.breakpoints, automatic === undefined ? 0 : 1);
  if (found > MAX_BREAKPOINTS) {
    throw createInvalidRequestError(
      `A maximum of ${MAX_BREAKPOINTS} blocks with cache_control may be provided. Found ${found}.`,
    );
  }
  const last = blocks.findLast((block) => block.isCacheable);
  if (last !== undefined && automatic !== undefined) {
    if ((last.breakpoint ?? automatic) !== automatic) {
      throw createInvalidRequestError(
        `cache_control: its ttl '${automatic}' is not that of ${last.path}.cache_control, the last block: '${last.breakpoint}'.`,
      );
    }
    last.breakpoint = automatic;
  }
  let short = false;
  for (const { breakpoint, path } of blocks) {
    if (breakpoint === '1h' && short) {
      throw createInvalidRequestError(
        `${path}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks are processed in the following order: \`tools\`, \`system\`, \`messages\`.`,
      );
    }
    short ||= breakpoint === '5m';
  }
}

/** Keeps the prefixes of prompts in memory. When it is full, the least recently used ones are removed. */
export class PromptCache {
  readonly #entries = new Map<string, CachedPrefixEntry>();

  /**
   * Finds what a request reads and writes.
   * @param owner who the prefixes belong to: the account and the model.
   * @param minimum the shortest prefix that is cached, in tokens.
   * @param now when the request started, in milliseconds: lifetimes run from there.
   */
  planCacheUse(blocks: readonly PromptBlock[], owner: Digest, minimum: number, now: number): CachePlan {
    const keys: string[] = [];
    const tokens: number[] = [];
    let prefix = owner;
    let sum = 0;
    for (const block of blocks) {
      prefix = computeDigest(block.bytes, prefix);
      sum += block.tokens;
      keys.push(digestToHex(prefix));
      tokens.push(sum);
    }
    const getTokensUpTo = (index: number): number => tokens[index] ?? 0;

    const breakpoints = blocks.flatMap(({ breakpoint }, index) =>
      breakpoint === undefined || getTokensUpTo(index) < minimum ? [] : [{ index, lifetime: breakpoint }],
    );
    let hit = -1;
    for (const { index } of breakpoints) {
      for (let at = index; at > Math.max(hit, index - LOOKBACK); at--) {
        if (this.#findEntry(keys[at], now) !== undefined) {
          hit = at;
          break;
        }
      }
    }

    const usage: CacheUsage = { uncached: 0, read: getTokensUpTo(hit), written5m: 0, written1h: 0 };
    let written = getTokensUpTo(hit);
    for (const { index, lifetime } of breakpoints) {
      const fresh = Math.max(0, getTokensUpTo(index) - written);
      written += fresh;
      if (lifetime === '1h') usage.written1h += fresh;
      else usage.written5m += fresh;
    }
    usage.uncached = sum - written;

    const commit = (): void => {
      for (const { index, lifetime } of breakpoints) if (index > hit) this.#writeEntry(keys[index], lifetime, now);
      for (const key of keys.slice(0, hit + 1)) this.#renewEntry(key, now);
    };
    return { usage, commitToCache: commit };
  }

  #findEntry(key: string | undefined, now: number): CachedPrefixEntry | undefined {
    const entry = key === undefined ? undefined : this.#entries.get(key);
    return entry !== undefined && entry.expiresAt > now ? entry : undefined;
  }

  #renewEntry(key: string, now: number): void {
    const entry = this.#findEntry(key, now);
    if (entry !== undefined) this.#writeEntry(key, entry.lifetime, now);
  }

  #writeEntry(key: string | undefined, lifetime: CacheLifetime, now: number): void {
    if (key === undefined) return;
    const expiresAt = Math.max(now + LIFETIME_MS[lifetime], this.#entries.get(key)?.expiresAt ?? 0);
    setMostRecent(this.#entries, key, { lifetime, expiresAt }, MAX_ENTRIES);
  }
}
