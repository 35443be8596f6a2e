import { DurableObject } from 'cloudflare:workers';
import { HOUR_MS } from '../../async/durations.ts';
import { within } from '../../async/timeout.ts';
import { MAX_INPUT_BYTES } from '../../classification/classify.schema.ts';
import type { Bindings } from '../../durable/bindings.ts';
import { callAccount } from '../../durable/call-account.ts';
import type { Conclusion, InboxObject, NewEvent, Work } from '../../durable/contracts/inbox.ts';
import type { Page, PageOf } from '../../durable/contracts/page.ts';
import { retentionOf } from '../../settings/retention.ts';
import { settingsOf } from '../../settings/settings.ts';
import type { EventState } from '../webhooks.schema.ts';
import type { Attempt, Classification, EventReport, EventRow } from '../webhooks-answers.schema.ts';
import { EventStore, type StoredEvent } from './event-store.ts';

/** After so long what is on the queue is taken for lost. It is longer than any run, so that it also guards those. */
const LOST_ON_QUEUE_MS = 4 * 60_000;
const REPEAT_MS = 15_000;
const CALL_MS = 30_000;
const WAKE_GRAIN_MS = 1_000;
/** Events that an alarm puts on the queue, and how many a call of the queue takes. */
const ENQUEUED_AT_ONCE = 1_000;
const BATCH = 100;
/** Events that are tried before their window opens when another one shows that there is room again. */
const RELEASED_AT_ONCE = 10;
const ERASED_AT_ONCE_ROWS = 5_000;
/** Behind it stands an account, and whether it has confirmed that it knows of this inbox. */
const ANNOUNCED = 'announced:';

/**
 * The inbox of one source of webhooks: what has come, once each, and what has become of it.
 *
 * The rows are the truth and the queue only carries ids: whatever is lost on the way, by a crash anywhere, is put on the
 * queue again by the alarm, and what must wait is held back here, however long. A run on an event takes a lease, so that
 * a message that comes twice is not worked on twice; of two results the first is kept.
 */
export class Inbox extends DurableObject<Bindings> implements InboxObject {
  readonly #events: EventStore;
  /** Until when events are being worked on. Not stored: `due_at`, which is, lies behind each. */
  readonly #leases = new Map<string, number>();
  /** Accounts that know of this inbox, to have it erased with them. */
  readonly #announced = new Set<string>();
  #erasures = 0;
  #alarmAt: number | null = null;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    this.#events = new EventStore(ctx.storage, ctx.id.name ?? '');
    void ctx.blockConcurrencyWhile(async () => {
      this.#alarmAt = await ctx.storage.getAlarm();
    });
  }

  /** The clock; tests put their own in its place. */
  protected now(): number {
    return Date.now();
  }

  /** Puts events on the queue; tests have it do something else. */
  protected async enqueue(ids: readonly string[]): Promise<void> {
    await this.env.QUEUE.sendBatch(ids.map((id) => ({ body: id, contentType: 'json' })));
  }

  /** Milliseconds after which what is on the queue is taken for lost. */
  protected patience(): number {
    return LOST_ON_QUEUE_MS;
  }

  /**
   * Takes an event, once: from here on it is not lost. The caller puts it on the queue.
   *
   * @returns whether there is something to do for it, and of a duplicate the id that it is known by
   */
  accept(event: NewEvent): { status: 'accepted' | 'duplicate'; queue: boolean; known?: string } {
    const now = this.now();
    const bytes = new TextEncoder().encode(event.text ?? '').length;
    // No classification takes longer ones.
    const kept = bytes <= MAX_INPUT_BYTES ? event : { ...event, text: null };
    const place =
      kept.text === null
        ? { state: 'failed' as const, dueAt: null, failure: tooLong(now, bytes) }
        : { state: 'accepted' as const, dueAt: now + this.patience() };
    const known = this.#events.add(kept, now, place);
    if (known !== undefined) return { status: 'duplicate', queue: false, known };
    this.#wakeNext();
    if (!this.#isAnnounced(event.account)) this.ctx.waitUntil(this.#announce(event.account));
    return { status: 'accepted', queue: place.dueAt !== null };
  }

  /**
   * Takes up an event: until the lease is over nobody else is given it.
   *
   * @param leaseMs how long the run may take
   */
  begin(id: string, leaseMs: number): Work {
    const now = this.now();
    const event = this.#events.find(id);
    if (!event || event.dueAt === null) return { kind: 'none' };
    if (this.#isLeased(id, now) || (event.held && event.dueAt > now)) return { kind: 'none' };
    const lease = now + leaseMs;
    this.#leases.set(id, lease);
    if (event.dueAt < lease) {
      this.#events.change(event, { dueAt: lease, held: false });
      this.#wakeFor(lease);
    }
    const { account, text, subject, receivedAt, result, failures } = event;
    const kind = result === null ? 'classify' : 'deliver';
    return { kind, lease, account, text, subject, receivedAt, classification: result, failures };
  }

  /**
   * Records the classification of an event, if it has none yet.
   *
   * @param last the run, if it has nothing more to do: the result is not delivered
   * @returns the one that counts; null where the event has been erased, and nobody is to hear of it
   */
  record(
    id: string,
    classification: Classification,
    last?: { lease: number; attempt: Attempt },
  ): Classification | null {
    const now = this.now();
    const event = this.#events.find(id);
    if (!event) return null;
    if (event.result === null) {
      const ended = last ? this.#ended(event, last.attempt) : {};
      const state: EventState = last ? 'classified' : 'delivering';
      this.#events.change(event, { ...ended, state, result: classification, failures: 0 });
      if (last) this.#leases.delete(id);
      if (this.#events.release(now, RELEASED_AT_ONCE) > 0) this.#wakeFor(now);
      return classification;
    }
    if (last) this.conclude(id, { ...last, to: { state: 'classified' } });
    return event.result;
  }

  /** Says how a run has ended. A run whose lease was over, and has been taken up by another, is heard of success alone. */
  conclude(id: string, { lease, attempt, to }: Conclusion): void {
    const event = this.#events.find(id);
    if (!event || event.dueAt === null) return;
    const current = this.#leases.get(id);
    if (current !== undefined && current !== lease && to.state !== 'delivered') return;
    this.#leases.delete(id);
    const { runs, attempts } = this.#ended(event, attempt);
    if (to.state === 'again') {
      const state = event.result === null ? 'accepted' : 'delivering';
      const dueAt = Math.max(this.now() + to.pause, to.notBefore ?? 0);
      this.#events.change(event, { state, runs, attempts, failures: event.failures + 1, dueAt, held: true });
      this.#wakeFor(dueAt);
    } else if (to.state === 'waiting') {
      this.#events.change(event, { state: 'waiting', runs, attempts, dueAt: to.at, held: true });
      this.#wakeFor(to.at);
    } else this.#events.change(event, { state: to.state, runs, attempts, dueAt: null, held: false });
  }

  /** @returns a page of the events, newest first. */
  list(page: PageOf & { state?: EventState | undefined }): Page<EventRow> {
    return this.#events.page(page);
  }

  /** @returns an event by itself, or undefined. */
  read(id: string): EventReport | undefined {
    return this.#events.report(id);
  }

  /**
   * Has an event worked on again, now, whatever has become of it: classified if it is not, else delivered under the
   * same id. What is being worked on is left to that. The caller puts it on the queue.
   *
   * @returns the event; undefined where there is none
   */
  replay(id: string): EventReport | undefined {
    const now = this.now();
    const event = this.#events.find(id);
    if (!event) return undefined;
    if (!this.#isLeased(id, now)) {
      const state = event.result === null ? 'accepted' : 'delivering';
      this.#events.change(event, { state, failures: 0, held: false, dueAt: now + this.patience() });
      this.#wakeNext();
    }
    return this.#events.report(id);
  }

  /** Erases what came for an account until then, a page at a time. @returns how much is left */
  erase(account: string, until: number): { remaining: number } {
    this.#erasures += 1;
    this.#announced.delete(account);
    const remaining = this.#events.erase(account, until, ERASED_AT_ONCE_ROWS);
    // What came after the erasure began belongs to the account as it is now, which has to hear of this inbox anew.
    const anew = remaining === 0 && this.#events.hasAny(account);
    this.#events.setMeta(ANNOUNCED + account, anew ? 'pending' : undefined);
    if (anew) this.#wakeFor(this.now() + REPEAT_MS);
    return { remaining };
  }

  /** Puts on the queue what is due, repeats what was not confirmed, and lets go of what has had its time. */
  override async alarm(): Promise<void> {
    this.#alarmAt = null;
    const now = this.now();
    for (const [id, lease] of this.#leases) if (lease <= now) this.#leases.delete(id);
    const isEnqueued = await this.#enqueueDue(now);
    for (const account of this.#events.metaKeys(ANNOUNCED, 'pending')) await this.#announce(account);
    const retention = retentionOf(() => settingsOf(this.env));
    if (retention !== undefined && this.#events.prune(now - retention, ERASED_AT_ONCE_ROWS) === ERASED_AT_ONCE_ROWS) {
      this.#wakeFor(now + WAKE_GRAIN_MS);
    }
    // A queue that takes nothing is left alone for a while.
    this.#wakeNext(isEnqueued ? 0 : this.now() + REPEAT_MS);
  }

  /** @returns whether the queue has taken what is due */
  async #enqueueDue(now: number): Promise<boolean> {
    const due = this.#events.due(now, ENQUEUED_AT_ONCE);
    for (let at = 0; at < due.length; at += BATCH) {
      const some = due.slice(at, at + BATCH);
      try {
        await within(this.enqueue(some.map(({ id }) => id)), CALL_MS);
      } catch {
        // Nothing is lost: it is still due.
        return false;
      }
      // What has been taken up meanwhile has its own time by now.
      const free = some.filter(({ id }) => !this.#isLeased(id, now)).map(({ seq }) => seq);
      this.#events.enqueued(free, now + this.patience());
    }
    return true;
  }

  /** Tells an account of this inbox, before it is said to be done, so that its erasure reaches here. */
  async #announce(account: string): Promise<void> {
    const erasures = this.#erasures;
    this.#events.setMeta(ANNOUNCED + account, 'pending');
    this.#wakeFor(this.now() + REPEAT_MS);
    try {
      const request = { identity: { account }, accounts: this.env, settings: settingsOf(this.env) };
      const source = this.ctx.id.name ?? '';
      const told = callAccount(request, (object) => object.noteInbox(source));
      const { erasedUntil } = await within(told, CALL_MS);
      while (this.#events.erase(account, erasedUntil, ERASED_AT_ONCE_ROWS) > 0);
      // Erased meanwhile: the account has forgotten what it was told.
      if (erasures !== this.#erasures) return;
      this.#events.setMeta(ANNOUNCED + account, 'done');
      this.#announced.add(account);
    } catch {
      // It stays pending, and the alarm repeats it.
      this.#wakeFor(this.now() + REPEAT_MS);
    }
  }

  #isAnnounced(account: string): boolean {
    if (this.#announced.has(account)) return true;
    const known = this.#events.meta(ANNOUNCED + account) !== undefined;
    if (known) this.#announced.add(account);
    return known;
  }

  #ended(event: StoredEvent, attempt: Attempt) {
    return { runs: event.runs + 1, attempts: [...event.attempts, attempt], dueAt: null, held: false };
  }

  #isLeased(id: string, now: number): boolean {
    return (this.#leases.get(id) ?? 0) > now;
  }

  /** @param earliest nothing that is due has the alarm come before */
  #wakeNext(earliest = 0): void {
    const due = this.#events.nextDue();
    if (due !== undefined) this.#wakeFor(Math.max(due, earliest));
    const oldest = this.#events.oldestDone();
    if (oldest !== undefined)
      this.#wakeFor(Math.max(oldest + (retentionOf(() => settingsOf(this.env)) ?? 0), this.now() + HOUR_MS));
  }

  /** Has the alarm come by then; an alarm that comes earlier finds out for itself what is next. */
  #wakeFor(time: number): void {
    const at = Math.ceil(time / WAKE_GRAIN_MS) * WAKE_GRAIN_MS;
    if (this.#alarmAt !== null && this.#alarmAt <= at) return;
    this.#alarmAt = at;
    void this.ctx.storage.setAlarm(at);
  }
}

function tooLong(now: number, bytes: number): Attempt {
  const message = `The text has ${bytes} bytes; at most ${MAX_INPUT_BYTES} can be classified.`;
  return { at: new Date(now).toISOString(), ms: 0, error: { type: 'invalid_request_error', message } };
}
