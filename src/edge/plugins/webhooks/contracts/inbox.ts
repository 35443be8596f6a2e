import type { ListPage, PageSelection } from '../../../durable/page.ts';
import type { AlertRow } from '../../../money/alerts/alerts-answers.schema.ts';
import type { ChangeOrigin } from '../../../money/changes/change-origin.ts';
import type { WebhookEventState } from '../webhooks.schema.ts';
import type { EventAttempt, EventReport, EventResult, EventRow } from '../webhooks-answers.schema.ts';

declare module '../../../kit/plugins/bindings.ts' {
  interface Bindings {
    INBOX: DurableObjectNamespace<InboxObject>;
  }
}

/** The methods of the inbox of a webhook source. They are documented at the object. */
export interface InboxObject extends Rpc.DurableObjectBranded {
  acceptEvent(event: NewEvent): { status: 'accepted' | 'duplicate'; queue: boolean; firstId?: string };
  acceptAlert(event: NewEvent): void;
  recordEnqueueFailure(id: string): void;
  leaseEvent(id: string, leaseMs: number): LeasedEventWork;
  extendLease(id: string, lease: number, leaseMs: number): void;
  recordAgentTurn(id: string, place: AgentTurnRef): void;
  recordResult(id: string, result: EventResult, last?: { lease: number; attempt: EventAttempt }): EventResult | null;
  recordJobEnd(id: string, conclusion: JobConclusion): void;
  listEvents(page: EventPageQuery): ListPage<EventRow>;
  countUndelivered(): number;
  readUndelivered(): { events: number; failingSince: number | null };
  listAlerts(page: PageSelection): ListPage<AlertRow>;
  readEvent(id: string): EventReport | undefined;
  replayEvent(id: string, by?: ChangeOrigin): EventReport | undefined;
  replayUndelivered(after: number, by?: ChangeOrigin): { scheduled: number; last: number | undefined };
  eraseAccountEvents(account: string, until: number): { done: boolean };
}

/** A page of a source's events. */
export interface EventPageQuery extends PageSelection {
  state?: WebhookEventState | undefined;
  /** Whether only those are listed that were tried without success. */
  undelivered?: boolean | undefined;
}

/** The work on an event. The lease identifies the job that has taken it. */
export type LeasedEventWork =
  | { kind: 'none' }
  | {
      kind: 'work' | 'deliver';
      lease: number;
      account: string;
      text: string | null;
      subject: string | null;
      receivedAt: number;
      result: EventResult | null;
      /** The agent's turn that was begun for it. */
      turn: string | null;
      /** How often in a row the current stage (work or delivery) has failed. */
      failures: number;
    };

/** How a job has ended. */
export interface JobConclusion {
  lease: number;
  attempt: EventAttempt;
  to:
    | { state: 'delivered' | 'classified' | 'answered' | 'parked' | 'failed' }
    /** It has failed, and is tried again after a pause in milliseconds, but not before `notBefore`. */
    | { state: 'again'; pause: number; notBefore: number | null }
    /** It has not failed, and is tried again at a time. */
    | { state: 'waiting' | 'running'; at: number };
}

/** Where an agent works on an event. */
export interface AgentTurnRef {
  conversation: string;
  turn: string;
}

/** An event from a sender, with a verified signature. */
export interface NewEvent {
  id: string;
  account: string;
  /** The text; null if it is too long to be worked on. Then the event has failed. */
  text: string | null;
  subject: string | null;
  digest: string;
  /** Whether an event with the same body counts as this one, whatever its id is, because its sender signs only the body. */
  sameBodySameEvent?: boolean;
}
