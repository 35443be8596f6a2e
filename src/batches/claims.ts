/** Keeps which batch of an upstream belongs to which of this edge. This identifies a batch whose create got no answer. */

import { DurableObject } from 'cloudflare:workers';
import { DAY_MS, MINUTE_MS } from '../async/durations.ts';
import type { Bindings } from '../durable/bindings.ts';
import type { BatchCandidate, BatchClaimsObject, PendingBatch } from '../durable/contracts/batch.ts';
import { type Migration, migrate } from '../durable/migrations.ts';
import { Tables } from '../durable/tables.ts';

const CLAIM_MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    sql: `
      create table pending (
        batch text primary key,
        items integer not null,
        at integer not null,
        likeness text not null,
        origin text not null
      ) strict, without rowid;
      create table claims (upstream_id text primary key, batch text not null, at integer not null) strict, without rowid;`,
  },
];

/** Longer than the upstream keeps the results of a batch (29 days), and lists it. */
const KEPT_MS = 60 * DAY_MS;
/** Creates of the same size within this time could be confused with each other. Milliseconds. */
const CLOSELY_MADE_MS = 20 * MINUTE_MS;
/** Creates of the same size as that of the batch `?1`, less than `?2` milliseconds before or after it. */
const RIVALS = `pending as other, pending as own where own.batch = ?1 and other.batch != ?1
  and other.items = own.items and abs(other.at - own.at) < ?2`;
/** Those of them with the same custom ids, of another account or with another body. */
const TWINS = `${RIVALS} and other.likeness = own.likeness and other.origin != own.origin`;

/** The claims of one upstream. @example export { BatchClaims } from 'sluice'; */
export class BatchClaims extends DurableObject<Bindings> implements BatchClaimsObject {
  readonly #tables: Tables;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    migrate(ctx.storage, CLAIM_MIGRATIONS);
    this.#tables = new Tables(ctx.storage);
  }

  /** The clock. Tests replace it. */
  protected now(): number {
    return Date.now();
  }

  begin(pending: PendingBatch): void {
    for (const table of ['claims', 'pending']) {
      this.#tables.write(`delete from ${table} where at < ?`, this.now() - KEPT_MS);
    }
    this.#tables.insert('pending', { ...pending }, 'insert or replace');
  }

  claim(batch: string, upstreamId: string, isSure = false): boolean {
    const owner = this.#ownerOf(upstreamId);
    if (owner !== undefined && owner !== batch && !isSure) return false;
    const claim = { upstream_id: upstreamId, batch, at: this.now() };
    if (owner !== batch) this.#tables.insert('claims', claim, 'insert or replace');
    this.end(batch);
    return true;
  }

  prove(batch: string, upstreamId: string): 'own' | 'other' | 'unclear' {
    if (this.#hasAny(TWINS, batch)) return 'unclear';
    return this.claim(batch, upstreamId) ? 'own' : 'other';
  }

  release(batch: string, upstreamId: string): void {
    this.#tables.write('delete from claims where upstream_id = ? and batch = ?', upstreamId, batch);
  }

  end(batch: string): void {
    this.#tables.write('delete from pending where batch = ?', batch);
  }

  choose(batch: string, candidates: BatchCandidate[]): { only?: string; free: string[] } {
    const free = candidates.filter(({ id }) => {
      const owner = this.#ownerOf(id);
      return owner === undefined || owner === batch;
    });
    const [only, another] = free;
    const ids = free.map(({ id }) => id);
    if (!only || another || this.#hasAny(RIVALS, batch)) return { free: ids };
    this.claim(batch, only.id);
    return { only: only.id, free: ids };
  }

  #ownerOf(upstreamId: string): string | undefined {
    return this.#tables.read<{ batch: string }>('select batch from claims where upstream_id = ?', upstreamId)[0]?.batch;
  }

  /** @returns whether other such creates still wait for their answers. Then a batch in the list may be one of theirs. */
  #hasAny(others: string, batch: string): boolean {
    return this.#tables.has(others, batch, CLOSELY_MADE_MS);
  }
}
