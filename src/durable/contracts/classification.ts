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
  /** Of the request: what is sent again under the same key must be the same. */
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

export interface ClassificationObject extends Rpc.DurableObjectBranded {
  open(opening: ClassificationOpening): Promise<{ state: 'new' | 'taken' | 'other'; report?: ClassificationReport }>;
  take(from: number, inputs: TakenInput[]): void;
  recall(): Promise<{ left: number }>;
  begin(batch: string): ClassificationReport;
  unknown(after: number): UnknownInput[];
  sent(): ClassificationReport;
  drop(): Promise<void>;
  read(): ClassificationReport | undefined;
  results(after: number): { lines: string; last: number | null };
  cancel(): Promise<ClassificationReport | undefined>;
  erase(): Promise<void>;
}
