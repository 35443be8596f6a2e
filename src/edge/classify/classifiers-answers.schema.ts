import { createObjectTypeSchema } from '../kit/http/fields.ts';
import * as z from '../kit/http/zod.ts';
import { createStoredVersionFields } from '../registry/versions/versions-answers.schema.ts';
import { labels, putClassifier } from './classifiers.schema.ts';

/** A version as it is stored: with a `schema`, its labels stand beside it. */
export const classifierContent = z.object({
  ...createStoredVersionFields('classifier'),
  ...putClassifier.fields.shape,
  labels: z.addDescription(labels, 'As they were stored; with a `schema`, those that were read from it.'),
  multi: z.boolean(),
  allow_none: z.boolean(),
});

export const classifierDeleted = z.object({ type: createObjectTypeSchema('classifier_deleted'), name: z.string() });
