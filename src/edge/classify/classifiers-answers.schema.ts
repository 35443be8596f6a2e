import * as z from '../kit/http/zod.ts';
import { storedVersion } from '../registry/versions/versions-answers.schema.ts';
import { label, putClassifier } from './classifiers.schema.ts';

/** A version as it is stored: labels are objects, and those of a `schema` stand beside it. */
export const classifierContent = z.object({
  ...storedVersion('classifier'),
  ...putClassifier.fields.shape,
  labels: z.array(label),
  multi: z.boolean(),
  allow_none: z.boolean(),
});

export const classifierDeleted = z.object({ type: z.literal('classifier_deleted'), name: z.string() });
