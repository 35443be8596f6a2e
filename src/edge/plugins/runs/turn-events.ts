/**
 * Sends the events of a conversation to the client's server: a turn in the background has ended, or calls wait for approval.
 *
 * An event is stored in the same step as the change that it reports. Its row is deleted once the receiver has the event, and
 * the alarm repeats the others. So no event is lost in a crash, and an event that is sent twice has the same id.
 */

import { DamagedRow, findDamageInError } from '../../conversations/history/storage/damaged-row.ts';
import type { TurnRow } from '../../conversations/history/storage/rows.ts';
import { addNotes } from '../../conversations/history/storage/turn-notes.ts';
import type { StartedTurnRequest } from '../../conversations/object/contract.ts';
import type { turnEnded } from '../../conversations/object/conversations-answers.schema.ts';
import type { ObjectContext } from '../../conversations/object/object-context.ts';
import { describeTurn } from '../../conversations/object/turn-report.ts';
import type { TurnHandle } from '../../conversations/turn/turn-handle.ts';
import { deliverEventOnce } from '../../kit/delivery/deliver-event.ts';
import { SCHEDULE } from '../../kit/delivery/schedule.ts';
import { logBackgroundFailure } from '../../kit/http/log.ts';
import type * as z from '../../kit/http/zod.ts';
import { parseJsonObject } from '../../kit/json/object.ts';
import { rememberJsonText, stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import type { DeliveryRows } from './delivery-rows.ts';

/**
 * While an event is being sent, it is not sent a second time. If the object dies meanwhile, it is sent again after this time.
 */
const LEASE_MS = 2 * SCHEDULE.deliveryTimeout;
/** A longer event is sent without its message, and if it is still too long without its steps: receivers limit a body. */
const MOST_EVENT_CHARACTERS = 262_144;

/** The address for the events of a turn, if its request names one. */
const ADDRESS = 'deliver_url';

/** Stores the address of a turn's events in its row. */
export function addDeliverUrlNote(row: TurnRow, { edgeOptions }: Pick<StartedTurnRequest, 'edgeOptions'>): void {
  if (edgeOptions.deliver_url !== undefined) addNotes(row, { [ADDRESS]: edgeOptions.deliver_url });
}

type TurnEndedEvent = z.output<typeof turnEnded>;

export class TurnWebhookSender {
  readonly #object: ObjectContext;
  readonly #deliveries: DeliveryRows;
  readonly #onSent: () => void;
  #sending: Promise<void> | undefined;
  #isOpen = false;

  /** @param onSent is called when each event was sent, or waits for the alarm */
  constructor(object: ObjectContext, deliveries: DeliveryRows, onSent: () => void) {
    this.#object = object;
    this.#deliveries = deliveries;
    this.#onSent = onSent;
  }

  /** Whether there may be an event for which only a watch wakes the object. */
  get canHaveUnsentEvents(): boolean {
    return this.#isOpen;
  }

  /** Stores the event of a turn's end, and begins to send it. Call it in the step that stores the end. */
  storeTurnEndedEvent({ row, result: ended }: TurnHandle): void {
    if (!row.background || !ended) return;
    const turn = describeTurn(this.#object.transcript, row);
    const message = (ended.message as TurnEndedEvent['message'] | undefined) ?? null;
    const event: TurnEvent<Pick<TurnEndedEvent, 'turn' | 'message'>> = {
      type: 'turn.ended',
      shorter: [
        (members) => {
          members.message = null;
        },
        (members) => {
          members.turn.steps = [];
        },
      ],
    };
    this.storeAndSendEvent(row, event, { turn, message });
  }

  /** Stores an event of a turn, and begins to send it. Call it in the step that stores the reported change. */
  storeAndSendEvent<Members extends object>(
    { requestId, notes }: TurnRow,
    { type, mark = '', shorter }: TurnEvent<Members>,
    members: Members,
  ): void {
    const { transcript, alarm, now, settings, waitUntil } = this.#object;
    const url = typeof notes?.[ADDRESS] === 'string' ? notes[ADDRESS] : null;
    if (url === null && settings().TURN_DELIVER_URL === undefined) return;
    const { account = '', id: conversation = '' } = transcript.storedProfile ?? {};
    const id = `evt_${requestId.replace(/^req_/, '')}${mark}`;
    const about = { type, event_id: id, created_at: new Date(now()).toISOString(), account, conversation };
    let body = stringifyWithRememberedTexts({ ...about, ...members });
    for (const shorten of shorter) {
      if (body.length <= MOST_EVENT_CHARACTERS) break;
      shorten(members);
      body = stringifyWithRememberedTexts({ ...about, ...members });
    }
    alarm.scheduleWatchAt(now() + LEASE_MS);
    this.#deliveries.insertDelivery({ id, url, body, failures: 0, nextAt: now() });
    this.#isOpen = true;
    // Send the event after the current transaction, which stores the event together with the change that it reports.
    waitUntil(Promise.resolve().then(() => this.sendDueEvents()));
  }

  /** Sends the events that are due. Never rejects. */
  async sendDueEvents(): Promise<void> {
    this.#sending ??= this.#sendEachDueEvent()
      .catch((thrown: unknown) => {
        const { transcript, alarm, now, retries } = this.#object;
        const damage = findDamageInError(thrown);
        // Do not retry, because a damaged row would fail each time. Maintenance sets the alarm for the readable events, which
        // are due later.
        if (damage) return logBackgroundFailure({ conversation: transcript.uncheckedProfile?.id ?? '' }, damage);
        alarm.scheduleAt(now() + LEASE_MS);
        retries.recordFailure('turn_event', thrown, now() + LEASE_MS);
      })
      .finally(() => {
        this.#sending = undefined;
      });
    await this.#sending;
  }

  async #sendEachDueEvent(): Promise<void> {
    const { transcript, alarm, now, settings, env, retries } = this.#object;
    for (let row = this.#findDueDelivery(); row; row = this.#findDueDelivery()) {
      const { id, url, failures } = row;
      this.#isOpen = true;
      alarm.scheduleWatchAt(now() + LEASE_MS);
      this.#deliveries.postponeDelivery(id, failures, now() + LEASE_MS);
      const to = { url: url ?? undefined, usual: settings().TURN_DELIVER_URL, failures };
      const event = parseJsonObject(row.body);
      if (!event) logBackgroundFailure({ event_id: id }, new DamagedRow('an event'));
      // Drop a damaged event, which can never be sent.
      const whole = event && rememberJsonText({ ...event, event_id: id }, row.body);
      const { failure, again } = whole
        ? await deliverEventOnce(whole, to, { settings: settings(), env, now: now() })
        : {};
      if (!transcript.storedProfile) return;
      if (again) {
        alarm.scheduleAt(again.nextAt);
        retries.recordFailure('delivery', failure, again.nextAt, { subject: id, attempts: again.failures });
        this.#deliveries.postponeDelivery(id, again.failures, again.nextAt);
      } else {
        this.#deliveries.delete(id);
        // Also clear the recorded failure of an event that is given up, because it is not retried any more.
        retries.recordSuccess('delivery', id);
      }
    }
    retries.recordSuccess('turn_event');
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#onSent();
  }

  #findDueDelivery() {
    const { transcript, now } = this.#object;
    return transcript.storedProfile && this.#deliveries.findDueDelivery(now());
  }
}

/** An event of a turn, except its members. */
export interface TurnEvent<Members> {
  type: string;
  /** Added to the id of the turn's events, if it is not the one of its end. */
  mark?: string;
  /** Each makes its members shorter. They are called in their order while it is too long. */
  shorter: readonly ((members: Members) => void)[];
}
