/** The object of a batch, that of claims, and what an account decides about batches. */

import type { MessageBatch, OutcomeCounts } from '../../batches/batches-answers.schema.ts';
import type { Nanodollars } from '../../pricing/cost.ts';
import type { AdmissionCaller, AdmissionDecision } from './admission.ts';
import type { Tokens } from './settlement.ts';

/** What an account is asked to set aside for a batch. */
export interface BatchOrder extends AdmissionCaller {
  /** The batch's id. */
  batch: string;
  /** The id of its first row in the ledger; those of further models have a number behind it. */
  requestId: string;
  items: number;
  /** One for each model: what its items can cost at most, at half price. */
  rows: BatchOrderRow[];
  /** Every model that may be billed, each by all of its names. */
  models: string[][];
  /** Whether every model is in the price table. */
  known: boolean;
  /** A hash of the bytes of its body. */
  digest: string;
  /** A hash of the caller's `idempotency-key`. */
  key?: string | undefined;
  /** Whether a client says that it sends this again. */
  repeats: boolean;
  /** Whether nothing is to be set aside: only the decision is asked for. */
  dryRun: boolean;
}

/** What the items of one model can cost. */
export interface BatchOrderRow {
  requestId: string;
  model: string;
  unpriced: boolean;
  items: number;
  cost: Nanodollars;
  /** The same where limits say `served_tools: "estimate"`. */
  estimated: Nanodollars;
}

/** An account's decision about a batch. */
export type BatchDecision =
  | AdmissionDecision
  /** The same was sent before, and this batch was made of it. */
  | { outcome: 'attached'; batch: string }
  /** The idempotency key was used for another body. */
  | { outcome: 'mismatched' };

/** What a batch has cost, by model. To say it again changes nothing. */
export interface BatchSettlement {
  batch: string;
  rows: BatchSettlementRow[];
  /** When it was made, in milliseconds since 1970. */
  startedAt: number;
}

export interface BatchSettlementRow {
  requestId: string;
  model: string;
  status: string;
  cost: Nanodollars;
  estimated: boolean;
  tokens: Partial<Tokens>;
  outcomes: OutcomeCounts | null;
  upstream?: string | undefined;
}

/** What a batch is at its beginning: enough to bring it to its end, whoever dies. Plain JSON. */
export interface BatchOpening {
  id: string;
  account: string;
  requestId: string;
  /** The origin and path by which the caller has reached this edge, for `results_url`. */
  base: string;
  items: number;
  /** One for each model, with the most that it can cost; journals of earlier releases do not say how many items it has. */
  rows: { requestId: string; model: string; hold: Nanodollars; items?: number }[];
  /** What the custom ids are hashed with, and their digest. */
  seed: readonly [number, number, number, number];
  digest: string;
  /** The same for all batches with these custom ids: no proof, but a doubt. Journals of earlier releases have none. */
  likeness?: string;
  /** A hash of the account and the bytes of the body. */
  origin?: string;
  /** The longest cache lifetime that an item asks for. */
  cacheTtl: '5m' | '1h';
  /** Whether an answer can give out ids of what it makes. */
  makesThings?: boolean;
  /** Where there are several upstreams: the name of the one that it goes to. */
  upstream?: string | undefined;
  /** The headers that calls about it need: its version and betas. */
  headers: Record<string, string>;
  /** Where its end is told: null for nowhere. Default: BATCH_DELIVER_URL. */
  deliverUrl?: string | null | undefined;
}

/** What an upstream has answered to a create. */
export type CreateAnswer =
  /** Made, under this id of the upstream's. */
  | { kind: 'made'; id: string; expiresAt: string }
  /** Not made. What was said stands here for callers who have sent the same. */
  | { kind: 'refused'; status: number; body: string; headers: Record<string, string> }
  /** A failure that does not say whether it was made: it is looked for, and if it is not there, it was refused. */
  | { kind: 'doubtful'; status: number; body: string; headers: Record<string, string> }
  /** Nobody knows: the answer was lost. */
  | { kind: 'lost' };

/** How far a batch is, for whoever asks. */
export type BatchState =
  /** `isSent` is false as long as its last byte has not gone up: then it may still come to nothing. */
  | { kind: 'known'; batch: MessageBatch; upstream: UpstreamBatch | undefined; isSent: boolean }
  | { kind: 'refused'; status: number; body: string; headers: Record<string, string> }
  | { kind: 'none' };

/** Where the results of a batch are: at which upstream, under which id. */
export interface UpstreamBatch {
  id: string;
  name: string | undefined;
  headers: Record<string, string>;
}

/** The object of one batch. */
export interface BatchObject extends Rpc.DurableObjectBranded {
  /** Stores what the batch is, before anything is set aside for it. */
  prepare(opening: BatchOpening): void;
  /**
   * Says that the last byte goes up now.
   *
   * @param held what the account has set aside
   * @returns false where the batch was given up meanwhile: then it must not
   */
  closing(held: Nanodollars): Promise<boolean>;
  /** Takes the upstream's answer. */
  answered(answer: CreateAnswer): Promise<BatchState>;
  /** Lets a batch go whose last byte was not sent: only who would have sent it knows that. @param isHeld whether something may have been set aside for it */
  drop(isHeld: boolean): Promise<void>;
  /** @returns how the batch is */
  read(): BatchState;
  /** Has the upstream cancel what no model has begun to answer. */
  cancel(): Promise<BatchState>;
  /** Deletes the batch, here and there. */
  remove(): Promise<'removed' | 'running' | 'none'>;
  /** Forgets the batch for its account, which is erased. It is cancelled, settled and deleted. */
  erase(): void;
}

/** A batch whose create is not answered yet, or was lost. */
export interface PendingBatch {
  batch: string;
  items: number;
  /** When its last byte went up, in milliseconds since 1970. */
  at: number;
  /** The same for all batches with these custom ids. */
  likeness: string;
  /** The same for the same body of the same account: these may be taken for one another. */
  origin: string;
}

/** A batch of the upstream's list that may be ours. */
export interface BatchCandidate {
  id: string;
  /** Milliseconds since 1970. */
  at: number;
}

/** The object that knows which batches of one upstream belong to which of ours: one for each upstream. */
export interface BatchClaimsObject extends Rpc.DurableObjectBranded {
  /** Notes a batch before its last byte goes up. */
  begin(pending: PendingBatch): void;
  /**
   * Says whose a batch of the upstream's is.
   *
   * @param isSure whether the upstream itself has said so: then it was somebody else's by mistake
   * @returns false where it is somebody else's
   */
  claim(batch: string, upstreamId: string, isSure?: boolean): boolean;
  /**
   * Says whose a batch of the upstream's is, by its custom ids.
   *
   * @returns `own`; `other` where it is somebody else's; `unclear` as long as another one with the same custom ids is lost
   */
  prove(batch: string, upstreamId: string): 'own' | 'other' | 'unclear';
  /** Takes a claim back: it was a guess, and wrong. */
  release(batch: string, upstreamId: string): void;
  /** Notes that a batch was not made, or is not looked for any more. */
  end(batch: string): void;
  /**
   * Chooses among batches of the upstream's that have the right number of items and the right time.
   *
   * @returns `only`: the one that it must be, which is claimed; else those that nobody has claimed
   */
  choose(batch: string, candidates: BatchCandidate[]): { only?: string; free: string[] };
}
