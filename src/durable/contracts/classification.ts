/** The methods of the object of a classification by batch. The object says what each one does. */

import type { classifierContent } from '../../classification/classifiers-answers.schema.ts';
import type { classificationReport } from '../../classifications/classifications-answers.schema.ts';
import type * as z from '../../http/zod.ts';

export type ClassificationReport = z.output<typeof classificationReport>;

/** What is needed to read an answer. */
type ChoosingClassifier = Pick<z.output<typeof classifierContent>, 'labels' | 'multi' | 'allow_none'> & {
  fields?: Record<string, unknown>;
};

/** A classification by batch: everything that its inputs share. Plain JSON. */
export interface ClassificationOpening {
  id: string;
  account: string;
  /** The id of its batch. Each try has its own id, which identifies its calls. Only one try makes the batch. */
  batch: string;
  /** A hash of the request. A request with the same key must be the same. */
  digest: string;
  /** What reads an answer: the labels and fields, and whether they came as structured output. */
  classifier: ChoosingClassifier;
  structured: boolean;
  votes: number;
  cacheSeconds: number;
  model: string;
  /** name@version of a stored classifier. */
  version: string | null;
  deliverUrl?: string | undefined;
}

/** One input on its way into the object. */
export interface TakenInput {
  id: string;
  input: string;
  /** The key of its answer; null if answers are not kept, so that each input gets its own answer. */
  hash: string | null;
  /** Why it cannot be labelled. */
  fault: InputFault | null;
}

export interface InputFault {
  type: string;
  message: string;
}

/** An input without a known answer. `n` is its place among all inputs, from 0. */
export interface UnknownInput {
  n: number;
  input: string;
}

/**
 * The result of beginning a classification. `taken`: the same was sent before, and runs or has ended. `busy`: another request
 * is making it, so it is worth another try after some seconds. `other`: its key was used for something else.
 */
export type OpenedClassification =
  | { state: 'new' | 'other' }
  | { state: 'busy'; seconds: number }
  | { state: 'taken'; report: ClassificationReport };

/** The methods of the object. Each may be repeated, because a lost call is repeated. */
export interface ClassificationObject extends Rpc.DurableObjectBranded {
  /** Begins a classification, and tells the account of it. */
  open(opening: ClassificationOpening): Promise<OpenedClassification>;
  /** Takes inputs. @param from the place of the first one among all */
  take(batch: string, from: number, inputs: TakenInput[]): void;
  /**
   * Notes that all inputs have come, and searches for earlier answers. If nothing has to be sent, the classification ends.
   *
   * @returns undefined while there is more to search for: then call it again
   */
  begin(batch: string): Promise<ClassificationReport | undefined>;
  /** @returns the next texts that must go up. @param after the place of the last one before them */
  unknown(batch: string, after: number): UnknownInput[];
  /** Notes that the batch was made. */
  sent(batch: string): ClassificationReport;
  /** Gives up a classification whose batch could not be made. If it was made after all, the classification goes on. */
  drop(batch: string): Promise<void>;
  read(): ClassificationReport | undefined;
  /** @returns the next results as lines of JSON, and the place of the last one; null after the end */
  results(after: number): { lines: string; last: number | null };
  /** Cancels the batch. The answers until then stay. */
  cancel(): Promise<ClassificationReport | undefined>;
  /** Erases everything, because the account is erased. (The account itself erases its batches.) */
  erase(): Promise<void>;
}
