import { createObjectTypeSchema } from '../kit/http/fields.ts';
import * as z from '../kit/http/zod.ts';
import { createStoredVersionFields } from '../registry/versions/versions-answers.schema.ts';
import { labels, putClassifier } from './classifiers.schema.ts';

/** A version as it is stored: with a `schema`, it also contains the labels. */
export const classifierContent = z.object({
  ...createStoredVersionFields('classifier'),
  ...putClassifier.fields.shape,
  labels: z.addDescription(
    labels,
    'The labels, in the form in which they were stored; with a `schema`, those that it contains.',
  ),
  multi: z.addDescription(z.boolean(), 'Whether a text can have any number of labels instead of exactly one.'),
  allow_none: z.addDescription(z.boolean(), 'Whether a text can have no label.'),
});

export const classifierDeleted = z.object({
  type: createObjectTypeSchema('classifier_deleted'),
  name: z.addDescription(z.string(), 'The name of the deleted classifier.'),
});
