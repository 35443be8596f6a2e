/** The object of a classification by batch, as others call it; what each method does stands at the object. */

import type { classifierContent } from '../../classification/classifiers-answers.schema.ts';
import type { classificationReport } from '../../classifications/classifications-answers.schema.ts';
import type * as z from '../../http/zod.ts';

export type ClassificationReport = z.output<typeof classificationReport>;

/** What an answer is read by. */
type ChoosingClassifier = Pick<z.output<typeof classifierContent>, 'labels' | 'multi' | 'allow_none'> & {
  fields?: Record<string, unknown>;
};

/** What a classification by batch is: all that its inputs share. Plain JSON. */
export interface ClassificationOpening {
  id: string;
  account: string;
  /** The id that its batch gets. Each try has its own, by which its calls are known: only one of them makes the batch. */
  batch: string;
  /** A hash of the request: what is sent again under the same key must be the same. */
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
  /** The key of its answer; null where answers are not kept, so that each input has its own. */
  hash: string | null;
  /** Why it cannot be labelled. */
  fault: InputFault | null;
}

export interface InputFault {
  type: string;
  message: string;
}

/** An input that no answer is known of: `n` is its place among all inputs, from 0. */
export interface UnknownInput {
  n: number;
  input: string;
}

/**
 * What has come of beginning a classification. `taken`: the same was sent before, and runs or has ended; `busy`: it is being
 * made by somebody else; `other`: its key was used for something else.
 */
export type OpenedClassification =
  | { state: 'new' | 'busy' | 'other' }
  | { state: 'taken'; report: ClassificationReport };

/** All of it may be called again: a call that was lost is. */
export interface ClassificationObject extends Rpc.DurableObjectBranded {
  /** Begins a classification, and tells the account of it. */
  open(opening: ClassificationOpening): Promise<OpenedClassification>;
  /** Takes inputs. @param from the place of the first one among all */
  take(batch: string, from: number, inputs: TakenInput[]): void;
  /**
   * Has all inputs, and looks for answers that were given before. Where there is nothing to send, the classification ends.
   *
   * @returns undefined as long as there is more to look for: then it is called again
   */
  begin(batch: string): Promise<ClassificationReport | undefined>;
  /** @returns the next texts that have to go up. @param after the place of the last one before them */
  unknown(batch: string, after: number): UnknownInput[];
  /** Notes that the batch was made. */
  sent(batch: string): ClassificationReport;
  /** Lets go of a classification whose batch could not be made; if it was made all the same, the classification goes on. */
  drop(batch: string): Promise<void>;
  read(): ClassificationReport | undefined;
  /** @returns the next results as lines of JSON, and the place of the last one; null behind the last of all */
  results(after: number): { lines: string; last: number | null };
  /** Has the batch cancelled. What was answered until then stays. */
  cancel(): Promise<ClassificationReport | undefined>;
  /** Forgets everything: the account is erased. Its batches are erased by the account itself. */
  erase(): Promise<void>;
}
