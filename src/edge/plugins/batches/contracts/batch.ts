/** The contracts of a batch's object, and of an account's decisions about batches. */

import type { ClassifierLabel } from '../../../classify/classifiers.schema.ts';
import type { classifierContent } from '../../../classify/classifiers-answers.schema.ts';
import type { ModelPrices } from '../../../claude/models/models.ts';
import type { Nanodollars } from '../../../claude/pricing/cost.ts';
import type * as z from '../../../kit/http/zod.ts';
import type { AdmissionContext, AdmissionDecision } from '../../../money/contracts/admission.ts';
import type { TokenUsage } from '../../../money/contracts/settlement.ts';
import type { MessageBatch } from '../../../money/lists/batches-answers.schema.ts';

declare module '../../../kit/plugins/bindings.ts' {
  interface Bindings {
    BATCH: DurableObjectNamespace<BatchObject>;
  }
}

/** Requests a hold for the cost of a batch. */
export interface BatchAdmissionRequest extends AdmissionContext {
  /** The batch's id. */
  batch: string;
  /** The id of its first row in the ledger. The rows of other models have this id with a number after it. */
  requestId: string;
  items: number;
  /** One entry for each model: the most that its items can cost, at half price. */
  rows: BatchModelCost[];
  /** Every model that may be billed, each with all of its names. */
  models: string[][];
  /** Whether every model is in the price table. */
  known: boolean;
  /** A hash of the bytes of its body. */
  digest: string;
  /** A hash of the caller's `idempotency-key`. */
  key?: string | undefined;
  /** Whether the client marks this request as a retry. */
  repeats: boolean;
  /** Whether only a decision is requested, without a hold. */
  dryRun: boolean;
}

/** The maximum cost of the items of one model. */
export interface BatchModelCost {
  requestId: string;
  model: string;
  unpriced: boolean;
  items: number;
  cost: Nanodollars;
}

/** An account's decision about a batch. */
export type BatchDecision =
  | AdmissionDecision
  /** The same was sent before, and this batch was made. */
  | { outcome: 'attached'; batch: string }
  /** The idempotency key was used for another body. */
  | { outcome: 'mismatched' };

/** The cost of a batch, by model. A repeated settlement changes nothing. */
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
  saved?: Nanodollars | undefined;
  estimated: boolean;
  tokens: Partial<TokenUsage>;
  /** How many of its items have ended in which way. */
  outcomes: Readonly<Record<string, number>> | null;
  upstream?: string | undefined;
}

/** The classification task by which the answers of a batch are read, if they are labels. */
export interface BatchLabelTask {
  classifier: Pick<z.output<typeof classifierContent>, 'multi' | 'allow_none'> & {
    labels: ClassifierLabel[];
    fields?: Record<string, unknown>;
    schema?: Record<string, unknown>;
    label_property?: string;
  };
  /** Whether they come as structured output. */
  hasStructuredOutput: boolean;
  model: string;
}

/** A batch at its beginning. This is enough to bring it to its end after any crash. Plain JSON. */
export interface InitialBatchData {
  id: string;
  account: string;
  /** The origin and path by which the caller reaches its results, for `results_url`. */
  base: string;
  /** One entry for each model, with the most that it can cost. */
  rows: { requestId: string; model: string; hold: Nanodollars; items: number }[];
  /** The prices of its models when it was admitted, by their ids. The batch is settled by these, even if `PRICES` changes. */
  prices: Record<string, ModelPrices>;
  /** The longest cache lifetime that an item requests. */
  cacheTtl: '5m' | '1h';
  /** Whether an answer may contain ids of things that it makes. */
  makesThings: boolean;
  /** If there are several upstreams: the name of the upstream that gets the batch. */
  upstream?: string | undefined;
  /** The headers that calls about it need: its version and betas. */
  headers: Record<string, string>;
  /** The address to which its end is reported; null for none. Default: BATCH_DELIVER_URL. */
  deliverUrl?: string | null | undefined;
  /** If it is a classification: a `BatchLabelTask` as JSON. */
  labels?: string | undefined;
}

/** The upstream's answer to a create. */
export type BatchCreateOutcome =
  | { kind: 'made'; id: string; expiresAt: string }
  /** The batch was not created. The response is kept for callers that send the same request again. */
  | { kind: 'refused'; status: number; body: string; headers: Record<string, string> }
  /**
   * A failure that leaves open whether the batch was created. If the upstream's list has no such batch, it counts as rejected.
   */
  | { kind: 'doubtful'; status: number; body: string; headers: Record<string, string> }
  /** The answer was lost, so it is not known. */
  | { kind: 'lost' };

/** How far a batch has come. */
export type BatchState =
  /** `isSent` is false until its last byte has been sent. Until then, the batch may still be given up. */
  | {
      kind: 'known';
      batch: MessageBatch;
      upstream: UpstreamBatchLocation | undefined;
      isSent: boolean;
      /** If it is a classification: a `BatchLabelTask` as JSON. */
      labels: string | undefined;
    }
  | { kind: 'refused'; status: number; body: string; headers: Record<string, string> }
  | { kind: 'none' };

/** Where the results of a batch are: at which upstream, under which id. */
export interface UpstreamBatchLocation {
  id: string;
  name: string | undefined;
  headers: Record<string, string>;
}

export interface BatchObject extends Rpc.DurableObjectBranded {
  /** Stores the batch, before anything is set aside for it. */
  storeOpening(opening: InitialBatchData): void;
  /**
   * Records that the last byte is about to be sent.
   *
   * @returns false if the batch was given up in the meantime: then the last byte must not be sent
   */
  recordLastByteSent(): boolean;
  /** Takes the upstream's answer. */
  acceptCreateResponse(answer: BatchCreateOutcome): Promise<BatchState>;
  /**
   * Gives up a batch whose last byte was not sent. Only its sender may call this, because only the sender knows that.
   *
   * @param isHeld whether something may have been set aside for it
   * @returns false if the batch is not known, or was given up before: then its sender releases the hold
   */
  giveUpUnsentBatch(isHeld: boolean): Promise<boolean>;
  readBatchState(): BatchState;
  /** Cancels the items at the upstream that no model has begun to answer. */
  cancelBatch(): Promise<BatchState>;
  /** Deletes the batch, here and at the upstream. */
  deleteBatch(): Promise<'removed' | 'running' | 'none'>;
  /** Erases the batch, because its account is erased. It is cancelled, settled and deleted. */
  erase(): Promise<void>;
}
