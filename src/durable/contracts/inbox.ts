import type { AlertRow } from '../../alerts/alerts-answers.schema.ts';
import type { EventState } from '../../webhooks/webhooks.schema.ts';
import type { Attempt, EventReport, EventResult, EventRow } from '../../webhooks/webhooks-answers.schema.ts';
import type { Page, PageOf } from './page.ts';

/** The inbox of a source of webhooks, as others call it; what each method does stands at the object. */
export interface InboxObject extends Rpc.DurableObjectBranded {
  accept(event: NewEvent): { status: 'accepted' | 'duplicate'; queue: boolean; known?: string };
  acceptAlert(event: NewEvent): void;
  begin(id: string, leaseMs: number): Work;
  noteTurn(id: string, place: AgentTurn): void;
  record(id: string, result: EventResult, last?: { lease: number; attempt: Attempt }): EventResult | null;
  conclude(id: string, conclusion: Conclusion): void;
  list(page: PageOf & { state?: EventState | undefined }): Page<EventRow>;
  alerts(page: PageOf): Page<AlertRow>;
  read(id: string): EventReport | undefined;
  replay(id: string): EventReport | undefined;
  erase(account: string, until: number): { remaining: number };
}

/** What is to be done for an event; the lease names the job that has taken it up. */
export type Work =
  | { kind: 'none' }
  | {
      kind: 'work' | 'deliver';
      lease: number;
      account: string;
      text: string | null;
      subject: string | null;
      receivedAt: number;
      result: EventResult | null;
      /** An agent's turn that was begun for it. */
      turn: string | null;
      /** How often in a row this, working on it or delivering, has failed. */
      failures: number;
    };

/** How a job has ended. */
export interface Conclusion {
  lease: number;
  attempt: Attempt;
  to:
    | { state: 'delivered' | 'classified' | 'answered' | 'parked' | 'failed' }
    /** It has failed, and is tried again after a pause in milliseconds, but not before a time. */
    | { state: 'again'; pause: number; notBefore: number | null }
    /** It has not failed, and is tried again then. */
    | { state: 'waiting' | 'running'; at: number };
}

/** Where an agent works on an event. */
export interface AgentTurn {
  conversation: string;
  turn: string;
}

/** An event as it comes from a sender, its signature verified. */
export interface NewEvent {
  id: string;
  account: string;
  /** null where it is too long to be classified: the event has failed then. */
  text: string | null;
  subject: string | null;
  digest: string;
  /** Whether an event with the same body is this one, whatever its id: its sender signs the body alone. */
  sameBodySameEvent?: boolean;
}
