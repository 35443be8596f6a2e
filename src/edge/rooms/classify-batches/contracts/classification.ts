/** What a batch gets, and says, that is a classification. */

import type * as z from '../../../kit/http/zod.ts';
import type { ClassificationReport } from '../../../named/classify/classifications-answers.schema.ts';
import type { classifierContent } from '../../../named/classify/classifiers-answers.schema.ts';
import type { KeptAnswer } from '../../../named/classify/classify-answers.schema.ts';

/** What is needed to read an answer. */
type ChoosingClassifier = Pick<z.output<typeof classifierContent>, 'labels' | 'multi' | 'allow_none'> & {
  fields?: Record<string, unknown>;
};

/** What reads an answer: the labels and fields, and whether they came as structured output. */
export interface LabelTask {
  classifier: ChoosingClassifier;
  structured: boolean;
  votes: number;
}

/** How many inputs there are: all, with a known answer, sharing an answer; and how many requests go up. */
export type LabelCounts = Pick<ClassificationReport['counts'], 'inputs' | 'cached' | 'repeated' | 'requests'>;

// Everything that the inputs of a classification by batch share.
declare module '../../batches/contracts/batch.ts' {
  interface LabelsOpening extends LabelTask {
    /** How long its answers are cached; 0 for not at all. */
    cacheSeconds: number;
    model: string;
    /** name@version of a stored classifier. */
    version: string | null;
    counts: LabelCounts;
  }
}

/** One input on its way into the object. */
export interface TakenInput {
  id: string;
  /** The place of the first input that is equal; null for what cannot be labelled. */
  item: number | null;
  /** Of the first of equal inputs, where answers are cached: the key of its answer. */
  hash: string | null;
  /** Why it cannot be labelled. */
  fault: InputFault | null;
  /** With the hash: its answer, if that was in the cache. */
  known: KeptAnswer | null;
}

export interface InputFault {
  type: string;
  message: string;
}

/** What is called in the object of a batch of labels. */
export interface LabelMethods {
  /** @returns the cached answers of an account by their hashes. A request may not read so many itself */
  recall(account: string, hashes: string[]): Promise<[string, KeptAnswer][]>;
  /** Takes inputs of a classification that is prepared. @param from the place of the first one among all */
  take(from: number, inputs: TakenInput[]): void;
  /** @returns the next results */
  results(after: number): ResultPage;
}

/** A page of results as lines of JSON, and the place of the last one; null after the end. */
export interface ResultPage {
  lines: string;
  last: number | null;
}
