// Longer than other files: each step reads the journal anew after what it awaited, and all of them share its private state.
// What needs no state (the upstream's calls, the sums of results, the delivery, the shown form) is in files of its own.

import { DurableObject } from 'cloudflare:workers';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../async/durations.ts';
import { Alarm } from '../durable/alarm.ts';
import type { Bindings } from '../durable/bindings.ts';
import { callAccount } from '../durable/call-account.ts';
import type { Remote } from '../durable/call-object.ts';
import type { AccountObject } from '../durable/contracts/account.ts';
import type {
  BatchObject,
  BatchOpening,
  BatchSettlementRow,
  BatchState,
  CreateAnswer,
} from '../durable/contracts/batch.ts';
import { type Migration, migrate } from '../durable/migrations.ts';
import { readFormat, writeFormat } from '../durable/stored-format.ts';
import { Tables } from '../durable/tables.ts';
import { logFailure } from '../http/log.ts';
import { UNREADABLE_MS } from '../settings/retention.ts';
import { type Settings, settingsOf } from '../settings/settings.ts';
import { pricesAt } from '../upstream/choice/prices.ts';
import { type Upstream, upstreamOf } from '../upstream/upstream.ts';
import type { OutcomeCounts } from './batches-answers.schema.ts';
import { callClaims } from './call-batch.ts';
import { deliverEnd, firstDelivery } from './deliver-end.ts';
import { batchOf, type Journal, RESULTS_MS, stateOf } from './journal.ts';
import { type ResultSums, readResults } from './read-results.ts';
import { BatchCallFailed, isUnknownThere, UpstreamBatches, type UpstreamRow } from './upstream-batches.ts';

const BATCH_MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    sql: 'create table batch (one integer primary key check (one = 1), journal text not null) strict;',
  },
];

/** Between the journal and the last byte there is one call of the account: after so long whoever made it is dead. */
const PREPARED_MS = 5 * MINUTE_MS;
/** The upstream's answer to a create is looked for in its list from then on. */
const ANSWER_MS = 30_000;
/** How far the upstream's clock may be from this one, and how long it may take to make a batch. */
const CLOCK_MS = 2 * MINUTE_MS;
const MAKING_MS = 15 * MINUTE_MS;
/** A batch that is not in the upstream's list by then was never made: one that was would have expired. */
const LOST_MS = 25 * HOUR_MS;
/** A batch that the upstream does not know any more is settled at its hold then. */
const FORGOTTEN_MS = 30 * DAY_MS;
/** Polls: a tenth of the batch's age, within these bounds. */
const LEAST_POLL_MS = 5_000;
const MOST_POLL_MS = 5 * MINUTE_MS;
/** Somebody who asks has the upstream asked, if that was not just done. */
const ASKED_POLL_MS = 2_000;
/** So long a refusal is kept for them. */
const REFUSAL_MS = 10 * MINUTE_MS;
const NO_OUTCOMES: OutcomeCounts = { succeeded: 0, errored: 0, canceled: 0, expired: 0 };
/** After a failure that nothing else says anything about. */
const FAILED_MS = 30_000;

/**
 * The object of one batch: its journal, from before the first byte that makes it a batch to its settlement. Whoever dies, the
 * alarm goes on from the journal.
 */
export class Batch extends DurableObject<Bindings> implements BatchObject {
  readonly #alarm: Alarm;
  #journal: Journal | undefined;
  #polledAt = 0;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    this.#alarm = new Alarm(ctx.storage);
    const [table] = ctx.storage.sql.exec("select 1 from sqlite_master where name = 'batch'").toArray();
    if (table) {
      const [row] = ctx.storage.sql.exec('select journal from batch').toArray();
      if (row) this.#journal = readFormat<Journal>('batch', String(row.journal));
    }
    void ctx.blockConcurrencyWhile(() => this.#alarm.load());
  }

  /** The clock; tests put their own in its place. */
  protected now(): number {
    return Date.now();
  }

  /** The settings; tests put their own in their place. */
  protected settings(): Settings {
    return settingsOf(this.env);
  }

  /** Where the upstream is reached; tests put their own in its place. */
  protected upstream(): Upstream {
    return upstreamOf(this.settings());
  }

  prepare(opening: BatchOpening): void {
    if (this.#journal) return;
    migrate(this.ctx.storage, BATCH_MIGRATIONS);
    const now = this.now();
    this.#save({ ...opening, phase: 'prepared', createdAt: now });
    this.#alarm.wakeFor(now + PREPARED_MS);
  }

  async closing(): Promise<boolean> {
    const journal = this.#journal;
    if (journal?.phase !== 'prepared') return false;
    const at = this.now();
    const { id: batch, items, upstream } = journal;
    await callClaims(this.env, this.settings(), upstream, (claims) => claims.begin({ batch, items, at }));
    // The alarm may have given it up meanwhile.
    if (this.#journal?.phase !== 'prepared') return false;
    this.#save({ ...this.#journal, phase: 'closing', closingAt: this.now(), isReported: false });
    this.#alarm.wakeFor(this.now() + ANSWER_MS);
    return true;
  }

  async answered(answer: CreateAnswer): Promise<BatchState> {
    const journal = this.#journal;
    if (journal && (journal.phase === 'closing' || journal.phase === 'lost' || journal.isGuess)) {
      if (answer.kind === 'made') await this.#adopt(answer.id, false, answer.expiresAt);
      else if (answer.kind === 'refused' && journal.phase === 'closing') this.#refuse(answer);
      else if (journal.phase === 'closing') {
        this.#save({ ...journal, phase: 'lost' });
        if (answer.kind === 'doubtful') await this.#decideDoubtful(answer).catch(this.#failed);
      }
      this.#alarm.wakeFor(this.now() + (this.#journal?.phase === 'running' ? LEAST_POLL_MS : 0));
      await this.#tidy().catch(this.#failed);
    }
    return stateOf(this.#journal, this.now());
  }

  async drop(isHeld: boolean): Promise<void> {
    if (this.#journal?.phase !== 'prepared') return;
    this.#save({ ...this.#journal, phase: 'unsent', isReleased: !isHeld });
    this.#alarm.wakeFor(this.now());
    await this.#tidy().catch(this.#failed);
  }

  read(): BatchState {
    const now = this.now();
    if (this.#journal?.phase === 'running' && now - this.#polledAt > ASKED_POLL_MS) this.#alarm.wakeFor(now);
    return stateOf(this.#journal, now);
  }

  async cancel(): Promise<BatchState> {
    const journal = this.#journal;
    if (journal && !journal.isErased && isOpen(journal) && journal.cancelAt === undefined) {
      this.#save({ ...journal, cancelAt: this.now(), isReported: false });
      this.#alarm.wakeFor(this.now() + FAILED_MS);
      await this.#tellCancel().catch(this.#failed);
      await this.#tidy().catch(this.#failed);
    }
    return stateOf(this.#journal, this.now());
  }

  async remove(): Promise<'removed' | 'running' | 'none'> {
    const journal = this.#journal;
    if (stateOf(journal, this.now()).kind !== 'known' || !journal) return 'none';
    if (journal.phase !== 'ended') return 'running';
    this.#save({ ...journal, isErased: true, isReported: false });
    this.#alarm.wakeFor(this.now() + FAILED_MS);
    await this.#tidy();
    return 'removed';
  }

  erase(): void {
    const journal = this.#journal;
    if (!journal || journal.isErased) return;
    const isRunning = isOpen(journal) && journal.cancelAt === undefined;
    this.#save({ ...journal, isErased: true, isReported: true, ...(isRunning ? { cancelAt: this.now() } : {}) });
    this.#alarm.wakeFor(this.now());
  }

  /** Does what is due: it never throws, and sets itself again as long as anything is open. */
  override async alarm(): Promise<void> {
    this.#alarm.fired();
    try {
      await this.#work();
      await this.#tidy();
    } catch (thrown) {
      this.#failed(thrown);
    }
    this.#wakeForNext();
  }

  async #work(): Promise<void> {
    const now = this.now();
    const journal = this.#journal;
    switch (journal?.phase) {
      case 'prepared':
        if (now >= journal.createdAt + PREPARED_MS) this.#save({ ...journal, phase: 'unsent' });
        return;
      case 'closing':
      case 'lost':
        await this.#find(journal);
        return;
      case 'running':
        return await this.#poll(journal);
      case 'ended':
        return await this.#deliver(journal);
      default:
        return;
    }
  }

  /** The upstream has failed in a way that does not say whether it has made the batch: its list tells. */
  async #decideDoubtful(answer: Extract<CreateAnswer, { kind: 'doubtful' }>): Promise<void> {
    const free = await this.#find(this.#journal as Journal);
    if (free.length === 0 && this.#journal?.phase === 'lost') this.#refuse(answer);
  }

  /** Looks for a batch in the upstream's list whose create got no answer. */
  async #find(journal: Journal): Promise<readonly string[]> {
    const { id, items, closingAt = journal.createdAt, wrong = [], upstream } = journal;
    const rows = await this.#calls.since(closingAt - CLOCK_MS);
    const alike = rows.filter(
      (row) => row.items === items && row.createdAt <= closingAt + MAKING_MS && !wrong.includes(row.id),
    );
    const candidates = alike.map((row) => ({ id: row.id, at: row.createdAt }));
    const { only, free } = await callClaims(this.env, this.settings(), upstream, (claims) =>
      claims.choose(id, candidates),
    );
    if (only !== undefined) await this.#adopt(only, true, alike.find((row) => row.id === only)?.expiresAt);
    if (only !== undefined) return free;
    for (const row of alike) {
      if (free.includes(row.id) && row.status === 'ended' && (await this.#prove(row))) return free;
    }
    if (free.length === 0 && this.now() > closingAt + LOST_MS) {
      this.#end({ outcomes: { ...NO_OUTCOMES, expired: items }, cost: 0 });
    }
    return free;
  }

  /** Decides by its custom ids whether an ended batch of the upstream's is this one. */
  async #prove({ id, expiresAt }: UpstreamRow): Promise<boolean> {
    const sums = await this.#readResults(id);
    const journal = this.#journal;
    if (!journal) return false;
    if (sums.digest === journal.digest && sums.items === journal.items) {
      await this.#adopt(id, false, expiresAt);
      return this.#journal?.phase === 'running';
    }
    this.#save({ ...journal, wrong: [...(journal.wrong ?? []), id] });
    return false;
  }

  /** Takes a batch of the upstream's as this one, unless somebody else has. */
  async #adopt(upstreamId: string, isGuess: boolean, expiresAt = ''): Promise<void> {
    const { id, upstream } = this.#journal ?? {};
    if (id === undefined) return;
    const isOurs = await callClaims(this.env, this.settings(), upstream, (claims) => claims.claim(id, upstreamId));
    const journal = this.#journal;
    if (!journal || !isOpen(journal) || (journal.upstreamId !== undefined && !journal.isGuess)) return;
    // Another one that has lost its answer took it, and will find that it is not its own.
    if (!isOurs && isGuess) return;
    this.#save({ ...journal, phase: 'running', upstreamId, isGuess, expiresAt, isReported: false });
    await this.#tellCancel();
  }

  async #poll(journal: Journal): Promise<void> {
    await this.#tellCancel();
    const { upstreamId = '', isGuess, closingAt = journal.createdAt } = journal;
    this.#polledAt = this.now();
    let row: UpstreamRow;
    let sums: ResultSums;
    try {
      row = await this.#calls.read(upstreamId);
      if (row.status !== 'ended') return;
      sums = await this.#readResults(upstreamId);
    } catch (thrown) {
      if (isUnknownThere(thrown) && this.now() > closingAt + FORGOTTEN_MS) {
        // The upstream has forgotten it: nobody can say any more what it has cost.
        const held = journal.rows.reduce((sum, { hold }) => sum + hold, 0);
        const outcomes = { ...NO_OUTCOMES, errored: journal.items };
        return await this.#settle(settledRows(journal, 'unknown', 1), { outcomes, cost: held });
      }
      throw thrown;
    }
    if (this.#journal?.upstreamId !== upstreamId) return;
    if (isGuess && (sums.digest !== journal.digest || sums.items !== journal.items)) {
      return await this.#unguess(upstreamId);
    }
    if (sums.items !== journal.items) throw new Error(`${sums.items} of ${journal.items} results`);
    const rows = sums.rows.map(
      (sum): BatchSettlementRow => ({ ...sum, status: 'complete', upstream: journal.upstream }),
    );
    await this.#settle(rows, sums);
  }

  /** What was taken for this batch is another one. */
  async #unguess(upstreamId: string): Promise<void> {
    const { id, upstream, items, closingAt = this.now(), wrong = [] } = this.#journal as Journal;
    await callClaims(this.env, this.settings(), upstream, async (claims) => {
      await claims.release(id, upstreamId);
      await claims.begin({ batch: id, items, at: closingAt });
    });
    const { upstreamId: _, isGuess: __, ...journal } = this.#journal as Journal;
    this.#save({ ...journal, phase: 'lost', wrong: [...wrong, upstreamId], isReported: false });
  }

  async #readResults(upstreamId: string): Promise<ResultSums> {
    const settings = this.settings();
    const journal = this.#journal as Journal;
    const controller = new AbortController();
    const response = await this.#calls.results(upstreamId, controller);
    const models = pricesAt(settings, journal.upstream);
    return await readResults(response, journal, { models, controller, idleMs: settings.STREAM_IDLE_MS });
  }

  /** Settles with the account, then notes that it has ended: if this dies in between, it is said again. */
  async #settle(rows: BatchSettlementRow[], { outcomes, cost }: Pick<ResultSums, 'outcomes' | 'cost'>): Promise<void> {
    const { id: batch, createdAt: startedAt } = this.#journal as Journal;
    const text = JSON.stringify({ batch, rows, startedAt });
    await this.#account((account) => account.settleBatchJson(text));
    this.#end({ outcomes, cost, isGuess: false });
    await this.#deliver(this.#journal as Journal);
  }

  #end(more: Partial<Journal>): void {
    const journal = this.#journal as Journal;
    const endedAt = this.now();
    const delivery = firstDelivery(journal, this.settings(), endedAt);
    this.#save({ ...journal, phase: 'ended', endedAt, isReported: false, ...more, ...delivery });
  }

  #refuse({ kind: _, ...refusal }: Extract<CreateAnswer, { kind: 'refused' | 'doubtful' }>): void {
    const journal = this.#journal as Journal;
    this.#save({ ...journal, phase: 'refused', refusal, endedAt: this.now() });
  }

  async #tellCancel(): Promise<void> {
    const { cancelAt, isCancelTold, upstreamId } = this.#journal ?? {};
    if (cancelAt === undefined || isCancelTold || upstreamId === undefined) return;
    try {
      await this.#calls.cancel(upstreamId);
    } catch (thrown) {
      // It has ended already, or is gone: the next poll sees that.
      if (!(thrown instanceof BatchCallFailed && thrown.status >= 400 && thrown.status < 500)) throw thrown;
    }
    if (this.#journal) this.#save({ ...this.#journal, isCancelTold: true });
  }

  async #deliver(journal: Journal): Promise<void> {
    const { delivery } = journal;
    if (!delivery || journal.isErased || this.now() < delivery.nextAt) return;
    const next = await deliverEnd(journal, this.settings(), this.env, this.now());
    const { delivery: _, ...rest } = this.#journal as Journal;
    this.#save(next ? { ...rest, delivery: next } : rest);
  }

  /** Gives back what is not needed, tells the account, and goes once there is nothing left to do. */
  async #tidy(): Promise<void> {
    const journal = this.#journal;
    if (!journal) return;
    const { id, phase, isReleased, isReported, isErased } = journal;
    const isVoid = phase === 'refused' || phase === 'unsent' || (phase === 'ended' && journal.upstreamId === undefined);
    if (isVoid && !isReleased) {
      const status = phase === 'refused' ? 'refused_upstream' : 'unsent';
      const settled = settledRows(journal, status, 0);
      const text = JSON.stringify({ batch: id, rows: settled, startedAt: journal.createdAt });
      await this.#account((account) => account.settleBatchJson(text));
      await callClaims(this.env, this.settings(), journal.upstream, (claims) => claims.end(id));
      if (phase !== 'ended') await this.#account((account) => account.noteBatch(id, null));
      this.#save({ ...(this.#journal as Journal), isReleased: true });
    }
    if (isErased && phase === 'ended') {
      if (journal.upstreamId !== undefined) await this.#calls.remove(journal.upstreamId);
      await this.#account((account) => account.noteBatch(id, null));
      return await this.#forget();
    }
    const isListed = phase === 'ended' || isOpen(journal);
    if (isListed && isReported === false && !isErased) {
      const report = batchOf(journal, this.now());
      await this.#account((account) => account.noteBatch(id, report));
      const latest = this.#journal;
      if (latest?.phase === phase && latest.cancelAt === journal.cancelAt) this.#save({ ...latest, isReported: true });
    }
    if (phase === 'unsent' && this.#journal?.isReleased) return await this.#forget();
    if (phase === 'refused' && this.now() >= (journal.endedAt ?? 0) + REFUSAL_MS) return await this.#forget();
    if (phase === 'ended' && this.now() >= this.#keptUntil(journal)) {
      await this.#account((account) => account.noteBatch(id, null));
      return await this.#forget();
    }
  }

  #keptUntil({ createdAt, endedAt = createdAt }: Journal): number {
    return Math.max(createdAt + RESULTS_MS, endedAt + this.settings().RETENTION_DAYS * DAY_MS);
  }

  async #forget(): Promise<void> {
    this.#journal = undefined;
    await this.ctx.storage.deleteAlarm();
    await this.ctx.storage.deleteAll();
    this.#alarm.fired();
  }

  #wakeForNext(): void {
    const journal = this.#journal;
    if (!journal) return;
    const now = this.now();
    const { phase, createdAt, closingAt = createdAt, endedAt = createdAt, delivery } = journal;
    const isUntidy =
      journal.isReported === false || ((phase === 'refused' || phase === 'unsent') && !journal.isReleased);
    if (isUntidy || (journal.isErased && phase === 'ended')) this.#alarm.wakeFor(now + FAILED_MS);
    if (phase === 'prepared') this.#alarm.wakeFor(createdAt + PREPARED_MS);
    else if (phase === 'refused') this.#alarm.wakeFor(endedAt + REFUSAL_MS);
    else if (phase === 'ended') this.#alarm.wakeFor(delivery?.nextAt ?? this.#keptUntilOrLater(journal, now));
    else this.#alarm.wakeFor(now + Math.min(MOST_POLL_MS, Math.max(LEAST_POLL_MS, (now - closingAt) / 10)));
  }

  #keptUntilOrLater(journal: Journal, now: number): number {
    try {
      return this.#keptUntil(journal);
    } catch {
      // Settings that cannot be read are told elsewhere.
      return now + UNREADABLE_MS;
    }
  }

  #save(journal: Journal): void {
    this.#journal = journal;
    new Tables(this.ctx.storage).write(
      'insert or replace into batch (one, journal) values (1, ?)',
      writeFormat('batch', journal),
    );
  }

  readonly #failed = (thrown: unknown): void => logFailure({ batch: this.#journal?.id ?? '' }, thrown);

  get #calls(): UpstreamBatches {
    const { upstream: name, headers = {} } = this.#journal ?? {};
    return new UpstreamBatches(this.upstream(), this.settings(), { name, headers });
  }

  async #account<T>(call: (account: Remote<AccountObject>) => Promise<T>): Promise<T> {
    const identity = { account: this.#journal?.account ?? '' };
    return await callAccount({ identity, accounts: this.env, settings: this.settings() }, call, 'persistent');
  }
}

/** @returns whether the upstream may still work on a batch. */
function isOpen({ phase }: Journal): boolean {
  return phase === 'closing' || phase === 'lost' || phase === 'running';
}

/** @returns what is booked of a batch without results: its hold, or nothing. */
function settledRows({ rows, upstream }: Journal, status: string, share: 0 | 1): BatchSettlementRow[] {
  return rows.map(({ requestId, model, hold }) => ({
    requestId,
    model,
    status,
    cost: hold * share,
    estimated: share === 1,
    tokens: {},
    outcomes: null,
    upstream,
  }));
}
