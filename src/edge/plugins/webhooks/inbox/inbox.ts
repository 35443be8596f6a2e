import { MAX_INPUT_BYTES } from '../../../classify/classify.schema.ts';
import { readRetentionMs } from '../../../config/retention.ts';
import { parseSettingsOnce } from '../../../config/settings.ts';
import { EdgeDurableObject } from '../../../durable/edge-object.ts';
import type { ListPage, PageSelection } from '../../../durable/page.ts';
import { HOUR_MS, MINUTE_MS } from '../../../kit/async/durations.ts';
import { waitWithTimeout } from '../../../kit/async/timeout.ts';
import { DELIVERY_FUNCTION_ERROR } from '../../../kit/delivery/deliver.ts';
import type { Bindings } from '../../../kit/plugins/bindings.ts';
import { AlertOutbox, areAlertsDelivered, UNOWNED } from '../../../money/alerts/alert-outbox.ts';
import { ALERT_SOURCE } from '../../../money/alerts/alert-source.ts';
import type { AlertRow } from '../../../money/alerts/alerts-answers.schema.ts';
import { createDeadLetterAlert, createUndeliveredAlert } from '../../../money/alerts/create-alert.ts';
import type { ChangeOrigin } from '../../../money/changes/change-origin.ts';
import { ChangeOutbox } from '../../../money/changes/change-outbox.ts';
import { callAccount } from '../../../money/contracts/call-account.ts';
import type {
  AgentTurnRef,
  EventPageQuery,
  InboxObject,
  JobConclusion,
  LeasedEventWork,
  NewEvent,
} from '../contracts/inbox.ts';
import type { WebhookEventState } from '../webhooks.schema.ts';
import type { EventAttempt, EventReport, EventResult, EventRow } from '../webhooks-answers.schema.ts';
import { EventStore, type StoredEvent } from './event-store.ts';

/** After this time a message on the queue counts as lost. Milliseconds. */
const LOST_ON_QUEUE_MS = MINUTE_MS;
/** A sender's repetition of an event queues the event again if its message is older than this. Milliseconds. */
const QUEUED_JUST_NOW_MS = 10_000;
const REPEAT_MS = 15_000;
const CALL_MS = 30_000;
const WAKE_GRAIN_MS = 1_000;
/** How many events one alarm puts on the queue. */
const ENQUEUED_AT_ONCE = 1_000;
/** How many messages one call of the queue takes. */
const BATCH = 100;
/** How many waiting events are tried early when another event shows that the budget has money again. */
const RELEASED_AT_ONCE = 10;
/** How many undelivered events one call replays. */
const REPLAYED_AT_ONCE = 1_000;
const ERASED_AT_ONCE_ROWS = 5_000;
/** After this time without a success, the operator is alerted that the receiver fails. Milliseconds. */
const RECEIVER_FAILING_MS = HOUR_MS;
/** The key in `meta` of the receiver's failures since its last success; absent while it works. */
const RECEIVER_FAILING = 'receiver_failing';
/** The key `announced:<account>` records that an account knows this inbox; `announcing:<account>` that it does not know it yet. */
const ANNOUNCED = 'announced:';
const ANNOUNCING = 'announcing:';
const ANNOUNCED_AT_ONCE = 100;

/**
 * Keeps the events of one source of webhooks, each once, with its state and its result.
 *
 * The rows decide, and the queue only carries ids. If a message is lost in a crash, the alarm puts it on the queue again.
 * Events that must wait are kept here, for any time. A job takes a lease on its event, so that a message that comes twice is
 * not worked on twice. If there are two results, the first one is kept.
 *
 * @example export { Inbox } from 'sluice';
 */
export class Inbox extends EdgeDurableObject implements InboxObject {
  readonly #events: EventStore;
  readonly #alerts: AlertOutbox;
  readonly #changes: ChangeOutbox;
  /**
   * When the lease of each event ends. It is not stored: after a crash the stored `due_at` counts, which is never earlier.
   */
  readonly #leases = new Map<string, EventLease>();
  /** When each event was queued last, in milliseconds since 1970; of the last seconds only. */
  readonly #queuedAt = new Map<string, number>();
  /** Accounts that know this inbox, so that erasing them reaches it. */
  readonly #announced = new Set<string>();
  #erasures = 0;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env, WAKE_GRAIN_MS);
    this.#events = new EventStore(ctx.storage, ctx.id.name ?? '', this.services.abortObjectWithMessage);
    this.#alerts = new AlertOutbox(this.#events, this.services);
    this.#changes = new ChangeOutbox(this.#events, this.services);
  }

  /** Puts events on the queue; tests replace it. */
  protected async enqueue(ids: readonly string[]): Promise<void> {
    await this.env.QUEUE.sendBatch(ids.map((id) => ({ body: id, contentType: 'json' })));
  }

  /** @returns the milliseconds after which a message on the queue counts as lost. Tests replace it. */
  protected getQueueTimeoutMs(): number {
    return LOST_ON_QUEUE_MS;
  }

  /**
   * Stores an event once; from here on it cannot be lost. The caller puts it on the queue.
   *
   * @returns whether it belongs on the queue, and for a duplicate the id under which the event is stored. A duplicate is queued
   *   if the message of the first one may be lost
   */
  acceptEvent(event: NewEvent): { status: 'accepted' | 'duplicate'; queue: boolean; firstId?: string } {
    const now = this.now();
    const bytes = new TextEncoder().encode(event.text ?? '').length;
    // Drop a text that is too long to be classified, and store the event as failed.
    const stored = bytes <= MAX_INPUT_BYTES ? event : { ...event, text: null };
    const place =
      stored.text === null
        ? { state: 'failed' as const, dueAt: null, failure: createTooLongAttempt(now, bytes) }
        : { state: 'accepted' as const, dueAt: now + this.getQueueTimeoutMs() };
    const firstId = this.#events.addEventIfNew(stored, now, place);
    if (firstId !== undefined) return { status: 'duplicate', queue: this.#shouldQueueDuplicate(firstId, now), firstId };
    if (place.dueAt !== null) this.#queuedAt.set(event.id, now);
    this.#scheduleNextAlarm();
    if (!this.#isRegisteredWithAccount(event.account)) this.ctx.waitUntil(this.#registerWithAccount(event.account));
    return { status: 'accepted', queue: place.dueAt !== null };
  }

  /**
   * Decides whether a repeated event is queued again: only if no job works on it and its message is not new. The sender may repeat
   * an event because it got no response; then the event may never have been queued. If its message is new, the alarm queues the
   * event soon, unless a job has taken it by then.
   */
  #shouldQueueDuplicate(id: string, now: number): boolean {
    const event = this.#findUnleasedEvent(id, now);
    if (!event) return false;
    const rememberedAt = this.#queuedAt.get(id);
    // The alarm queues it soon.
    if (rememberedAt === undefined && event.dueAt > now && event.dueAt <= now + QUEUED_JUST_NOW_MS) return false;
    const queuedAt = rememberedAt ?? event.dueAt - this.getQueueTimeoutMs();
    const nextAt = queuedAt + QUEUED_JUST_NOW_MS;
    const isQueued = nextAt <= now;
    if (isQueued) this.#queuedAt.set(id, now);
    const dueAt = isQueued ? now + this.getQueueTimeoutMs() : Math.min(nextAt, event.dueAt);
    if (dueAt !== event.dueAt) this.#events.updateEvent(event, { dueAt });
    this.services.alarm.scheduleAt(dueAt);
    return isQueued;
  }

  /** Makes an event due now that the queue has rejected, so that the alarm queues it. */
  recordEnqueueFailure(id: string): void {
    const now = this.now();
    const event = this.#findUnleasedEvent(id, now);
    if (!event) return;
    this.#events.updateEvent(event, { dueAt: now });
    this.services.alarm.scheduleAt(now);
  }

  /** @returns an event that a job may take now, and that none has taken */
  #findUnleasedEvent(id: string, now: number): (StoredEvent & { dueAt: number }) | undefined {
    const event = this.#events.findEvent(id);
    if (!event || event.dueAt === null || event.waits || this.#isEventLeased(id, now)) return undefined;
    return { ...event, dueAt: event.dueAt };
  }

  /** Stores an alert once, and puts it on the queue. If that fails, the object's alarm does it. */
  acceptAlert(alert: NewEvent): void {
    const enqueueAlert = () =>
      this.enqueue([alert.id]).catch((thrown: unknown) => {
        this.services.retries.recordFailure('webhook_queue', thrown, this.now());
        this.recordEnqueueFailure(alert.id);
      });
    if (this.acceptEvent(alert).queue) this.ctx.waitUntil(enqueueAlert());
  }

  /**
   * Gives an event to a job. Until the lease ends no other job gets it. The job extends its lease while it works.
   *
   * @param leaseMs after which time without an extension the job counts as crashed
   */
  leaseEvent(id: string, leaseMs: number): LeasedEventWork {
    const now = this.now();
    const event = this.#events.findEvent(id);
    if (!event || event.dueAt === null) return { kind: 'none' };
    if (this.#isEventLeased(id, now) || (event.waits && event.dueAt > now)) return { kind: 'none' };
    const lease = now + leaseMs;
    this.#holdEventUntil({ ...event, dueAt: event.dueAt }, { lease, until: lease });
    const { account, text, subject, receivedAt, result, turn, failures } = event;
    const kind = result === null ? 'work' : 'deliver';
    return { kind, lease, account, text, subject, receivedAt, result, turn, failures };
  }

  /** Extends the lease of a job that still works on an event, unless another job has taken the event. */
  extendLease(id: string, lease: number, leaseMs: number): void {
    const event = this.#events.findEvent(id);
    const current = this.#leases.get(id);
    // An event that waits was left by its job: this call was overtaken.
    if (!event || event.dueAt === null || event.waits || (current !== undefined && current.lease !== lease)) return;
    this.#holdEventUntil({ ...event, dueAt: event.dueAt }, { lease, until: this.now() + leaseMs });
  }

  #holdEventUntil(event: StoredEvent & { dueAt: number }, lease: EventLease): void {
    this.#leases.set(event.id, lease);
    this.#queuedAt.delete(event.id);
    if (event.dueAt >= lease.until) return;
    this.#events.updateEvent(event, { dueAt: lease.until, waits: false });
    this.services.alarm.scheduleAt(lease.until);
  }

  /** Stores in which conversation and turn an agent works on an event. */
  recordAgentTurn(id: string, place: AgentTurnRef): void {
    const event = this.#events.findEvent(id);
    if (event && event.result === null) this.#events.updateEvent(event, { state: 'running', ...place });
  }

  /**
   * Records the result of an event, if it has none yet.
   *
   * @param last the job's lease and attempt, if the job ends here because the result is not delivered
   * @returns the first result, which counts; null if the event was erased, so that nothing is delivered
   */
  recordResult(id: string, result: EventResult, last?: { lease: number; attempt: EventAttempt }): EventResult | null {
    const now = this.now();
    const event = this.#events.findEvent(id);
    if (!event) return null;
    if (event.result === null) {
      const ended = last ? this.#createEndedFields(event, last.attempt) : {};
      const state: WebhookEventState = last ? getStateForResult(result) : 'delivering';
      this.#events.updateEvent(event, { ...ended, state, result, failures: 0 });
      if (last) this.#leases.delete(id);
      if (this.#events.releaseEventsWaitingForBudget(now, RELEASED_AT_ONCE) > 0) this.services.alarm.scheduleAt(now);
      return result;
    }
    if (last) this.recordJobEnd(id, { ...last, to: { state: getStateForResult(event.result) } });
    return event.result;
  }

  /** Records how a job has ended. If another job has taken the event after its lease, only a success counts. */
  recordJobEnd(id: string, { lease, attempt, to }: JobConclusion): void {
    const event = this.#events.findEvent(id);
    if (!event || event.dueAt === null) return;
    const current = this.#leases.get(id);
    if (current !== undefined && current.lease !== lease && to.state !== 'delivered') return;
    this.#leases.delete(id);
    if (to.state === 'running') {
      // Checking whether the agent is done is not an attempt, so do not count it as one.
      this.#events.updateEvent(event, { state: 'running', dueAt: to.at, waits: true });
      this.services.alarm.scheduleAt(to.at);
      return;
    }
    if (event.result !== null && (attempt.error !== null || to.state === 'delivered'))
      this.#recordDelivery(attempt.error);
    const { runs, attempts } = this.#createEndedFields(event, attempt);
    if (to.state === 'again') {
      const state = event.result === null ? 'accepted' : 'delivering';
      const dueAt = Math.max(this.now() + to.pause, to.notBefore ?? 0);
      this.#events.updateEvent(event, { state, runs, attempts, failures: event.failures + 1, dueAt, waits: true });
      this.services.alarm.scheduleAt(dueAt);
    } else if (to.state === 'waiting') {
      this.#events.updateEvent(event, { state: 'waiting', runs, attempts, dueAt: to.at, waits: true });
      this.services.alarm.scheduleAt(to.at);
    } else {
      this.#events.updateEvent(event, { state: to.state, runs, attempts, dueAt: null, waits: false });
      if (to.state === 'parked') this.#raiseDeadLetterAlert(event, runs);
    }
  }

  /** @returns a page of the events, newest first. */
  listEvents(page: EventPageQuery): ListPage<EventRow> {
    return this.#events.listEvents(page);
  }

  /** @returns how many events were tried in vain: they are tried again, or given up */
  countUndelivered(): number {
    return this.#events.countUndelivered();
  }

  /** @returns the same count, and since when the receiver has failed; null if it works, or for alerts */
  readUndelivered(): { events: number; failingSince: number | null } {
    return { events: this.countUndelivered(), failingSince: this.#readFailingReceiver()?.since ?? null };
  }

  /** @returns a page of the alerts, if this is their inbox, newest first. */
  listAlerts(page: PageSelection): ListPage<AlertRow> {
    return this.#events.listAlerts(page);
  }

  /** @returns one event with its result and its attempts, or undefined */
  readEvent(id: string): EventReport | undefined {
    return this.#events.readEventReport(id);
  }

  /**
   * Starts work on an event again, in any state. If it has no result, it is worked on; otherwise the result is delivered
   * under the same id. If a job works on it, nothing changes. The caller puts the event on the queue.
   *
   * @returns the event; undefined if there is none with this id
   */
  replayEvent(id: string, by?: ChangeOrigin): EventReport | undefined {
    const now = this.now();
    const event = this.#events.findEvent(id);
    if (!event) return undefined;
    if (!this.#isEventLeased(id, now)) {
      const state = event.result === null ? 'accepted' : 'delivering';
      // Forget the agent's turn. If it still exists, the next job finds it by the event's id.
      const begun = event.result === null ? { conversation: null, turn: null } : {};
      this.#events.updateEvent(event, {
        ...begun,
        state,
        failures: 0,
        waits: false,
        dueAt: now + this.getQueueTimeoutMs(),
      });
      const changes = { state: { from: event.state, to: state } };
      const subject = { type: 'event', id, account: event.account } as const;
      this.#changes.recordChanges(by, [{ kind: 'event.replayed', subject, changes }]);
      this.#queuedAt.set(id, now);
      this.#scheduleNextAlarm();
    }
    return this.#events.readEventReport(id);
  }

  /**
   * Replays a page of the undelivered events. The alarm puts them on the queue.
   *
   * @param after the `last` of the page before. Without it, events that fail again at once would be replayed for ever
   */
  replayUndelivered(after: number, by?: ChangeOrigin): { scheduled: number; last: number | undefined } {
    const now = this.now();
    const leased = [...this.#leases.keys()].filter((id) => this.#isEventLeased(id, now));
    const page = this.#events.replayUndelivered({ after, leased, now }, REPLAYED_AT_ONCE);
    if (page.scheduled > 0) {
      this.services.alarm.scheduleAt(now);
      const changes = { events: { from: null, to: page.scheduled } };
      const subject = { type: 'webhook', id: this.ctx.id.name ?? '' } as const;
      this.#changes.recordChanges(by, [{ kind: 'event.replayed', subject, changes }]);
    }
    return page;
  }

  /** Erases events of an account that were received up to a time, one page a call. @returns whether all of them are erased */
  eraseAccountEvents(account: string, until: number): { done: boolean } {
    this.#erasures += 1;
    this.#announced.delete(account);
    const done = !this.#events.eraseAccountEvents(account, until, ERASED_AT_ONCE_ROWS);
    // The remaining events belong to the account that was created after the erasure. Announce this inbox to that account.
    const hasNewer = done && this.#events.hasEventsOfAccount(account);
    this.#events.writeMetaValue(ANNOUNCED + account, undefined);
    this.#events.writeMetaValue(ANNOUNCING + account, hasNewer ? '' : undefined);
    if (hasNewer) this.services.alarm.scheduleAt(this.now() + REPEAT_MS);
    return { done };
  }

  /** Puts due events on the queue, repeats unconfirmed announcements, and deletes events that are too old. */
  override async alarm(): Promise<void> {
    this.services.alarm.markFired();
    const now = this.now();
    for (const [id, { until }] of this.#leases) if (until <= now) this.#leases.delete(id);
    for (const [id, at] of this.#queuedAt) if (at <= now - QUEUED_JUST_NOW_MS) this.#queuedAt.delete(id);
    const isEnqueued = await this.#enqueueDueEvents(now);
    for (const account of this.#events.listMetaKeys(ANNOUNCING, ANNOUNCED_AT_ONCE))
      await this.#registerWithAccount(account);
    this.#raiseAlertIfReceiverFails();
    await this.#alerts.sendUnconfirmedAlerts();
    await this.#changes.sendUnconfirmedChanges();
    const retention = readRetentionMs(() => parseSettingsOnce(this.env));
    if (
      retention !== undefined &&
      this.#events.deleteFinishedEventsBefore(now - retention, ERASED_AT_ONCE_ROWS) === ERASED_AT_ONCE_ROWS
    ) {
      this.services.alarm.scheduleAt(now + WAKE_GRAIN_MS);
    }
    // If the queue rejected the events, set the alarm only after a pause.
    this.#scheduleNextAlarm(isEnqueued ? 0 : this.now() + REPEAT_MS);
  }

  /** @returns whether the queue has taken the events that are due */
  async #enqueueDueEvents(now: number): Promise<boolean> {
    const due = this.#events.listDueEvents(now, ENQUEUED_AT_ONCE);
    for (let at = 0; at < due.length; at += BATCH) {
      const some = due.slice(at, at + BATCH);
      try {
        await waitWithTimeout(this.enqueue(some.map(({ id }) => id)), CALL_MS);
      } catch (thrown) {
        // The events stay due, so the next alarm enqueues them again.
        this.services.retries.recordFailure('webhook_queue', thrown, this.now() + REPEAT_MS);
        return false;
      }
      // Mark only events without a lease. A job that started during the await has already set the due time of its event.
      const free = some.filter(({ id }) => !this.#isEventLeased(id, now)).map(({ seq }) => seq);
      this.#events.markEnqueued(free, now + this.getQueueTimeoutMs());
    }
    if (due.length > 0) this.services.retries.recordSuccess('webhook_queue');
    return true;
  }

  /** Registers this inbox with an account, so that an erasure of the account also deletes its events here. */
  async #registerWithAccount(account: string): Promise<void> {
    const erasures = this.#erasures;
    this.#events.writeMetaValue(ANNOUNCING + account, '');
    this.services.alarm.scheduleAt(this.now() + REPEAT_MS);
    try {
      const request = { identity: { account }, accounts: this.env, settings: parseSettingsOnce(this.env) };
      const source = this.ctx.id.name ?? '';
      const noted = callAccount(request, (object) => object.noteInbox(source));
      const { erasedUntil } = await waitWithTimeout(noted, CALL_MS);
      while (this.#events.eraseAccountEvents(account, erasedUntil, ERASED_AT_ONCE_ROWS));
      this.services.retries.recordSuccess('inbox_announcement', account);
      // If any account was erased during the await, this account may not know the inbox any more, so do not mark it as
      // announced.
      if (erasures !== this.#erasures) return;
      this.#events.writeMetaValue(ANNOUNCED + account, '');
      this.#events.writeMetaValue(ANNOUNCING + account, undefined);
      this.#announced.add(account);
    } catch (thrown) {
      // The account stays among those that do not know the inbox, so the alarm repeats it.
      const nextAt = this.now() + REPEAT_MS;
      this.services.alarm.scheduleAt(nextAt);
      this.services.retries.recordFailure('inbox_announcement', thrown, nextAt, { subject: account });
    }
  }

  #isRegisteredWithAccount(account: string): boolean {
    if (account === UNOWNED || this.#announced.has(account)) return true;
    const isAnnounced = [ANNOUNCED, ANNOUNCING].some((key) => this.#events.readMetaValue(key + account) !== undefined);
    if (isAnnounced) this.#announced.add(account);
    return isAnnounced;
  }

  #createEndedFields(event: StoredEvent, attempt: EventAttempt) {
    return { runs: event.runs + 1, attempts: [...event.attempts, attempt], dueAt: null, waits: false };
  }

  /** Raises the alert that an event is not tried any more. It does not do so for an alert. */
  #raiseDeadLetterAlert({ id, account }: StoredEvent, runs: number): void {
    const source = this.ctx.id.name ?? '';
    if (source === ALERT_SOURCE || !areAlertsDelivered(this.env)) return;
    this.#alerts.storeAndSendAlerts([createDeadLetterAlert(source, id, runs, this.now())], account);
  }

  /** Records whether the receiver has accepted a delivery. The first failure and the first success after it are stored. */
  #recordDelivery(error: EventAttempt['error']): void {
    // Raise no alert about the receiver of alerts, because that alert could not be delivered either.
    if (this.ctx.id.name === ALERT_SOURCE) return;
    const failing = this.#readFailingReceiver();
    if (error === null) {
      if (failing) this.#events.writeMetaValue(RECEIVER_FAILING, undefined);
      return;
    }
    if (failing) return;
    const since = this.now();
    this.services.alarm.scheduleAt(since + RECEIVER_FAILING_MS);
    const message = error.type === DELIVERY_FUNCTION_ERROR ? 'The delivery function threw an error.' : error.message;
    const failures: FailingReceiver = { since, error: message, isAlerted: false };
    this.#events.writeMetaValue(RECEIVER_FAILING, JSON.stringify(failures));
  }

  /** Alerts the operator once if the receiver has failed for an hour. Called by the alarm. */
  #raiseAlertIfReceiverFails(): void {
    const failing = this.#readFailingReceiver();
    if (!failing || failing.isAlerted) return;
    const now = this.now();
    const dueAt = failing.since + RECEIVER_FAILING_MS;
    if (now < dueAt) {
      this.services.alarm.scheduleAt(dueAt);
      return;
    }
    this.#events.writeMetaValue(RECEIVER_FAILING, JSON.stringify({ ...failing, isAlerted: true }));
    this.#alerts.storeAndSendAlerts(
      [createUndeliveredAlert(this.ctx.id.name ?? '', { ...failing, events: this.countUndelivered() }, now)],
      UNOWNED,
    );
  }

  #readFailingReceiver(): FailingReceiver | undefined {
    const text = this.#events.readMetaValue(RECEIVER_FAILING);
    return text === undefined ? undefined : (JSON.parse(text) as FailingReceiver);
  }

  #isEventLeased(id: string, now: number): boolean {
    return (this.#leases.get(id)?.until ?? 0) > now;
  }

  /** @param earliest the earliest time of the alarm for due events */
  #scheduleNextAlarm(earliest = 0): void {
    const due = this.#events.findNextDueTime();
    if (due !== undefined) this.services.alarm.scheduleAt(Math.max(due, earliest));
    const oldest = this.#events.findOldestFinishedTime();
    if (oldest !== undefined)
      this.services.alarm.scheduleAt(
        Math.max(oldest + (readRetentionMs(() => parseSettingsOnce(this.env)) ?? 0), this.now() + HOUR_MS),
      );
  }
}

/** The lease of the job that works on an event. The number identifies the job. */
interface EventLease {
  lease: number;
  /** When it ends; milliseconds since 1970. */
  until: number;
}

/** The failures of a receiver since its last success. */
interface FailingReceiver {
  /** When it first failed; milliseconds since 1970. */
  since: number;
  /** The error of the first failure. */
  error: string;
  isAlerted: boolean;
}

/** @returns the state of an event whose result is not delivered anywhere. */
function getStateForResult(result: EventResult): 'answered' | 'classified' {
  return 'agent' in result ? 'answered' : 'classified';
}

function createTooLongAttempt(now: number, bytes: number): EventAttempt {
  const message = `The text has ${bytes} bytes, but at most ${MAX_INPUT_BYTES} can be classified.`;
  return { at: new Date(now).toISOString(), ms: 0, error: { type: 'invalid_request_error', message } };
}
