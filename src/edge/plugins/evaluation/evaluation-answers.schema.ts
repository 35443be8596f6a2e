import { classifyUsage } from '../../classify/classify-answers.schema.ts';
import { count, createObjectTypeSchema, usd } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';

const share = z.nullable(z.number().check(z.gte(0), z.lte(1)));

const mistake = z.object({
  id: z.addDescription(z.string(), 'The id of the example.'),
  input: z.addDescription(z.string(), 'The text of the example.'),
  expected: z.addDescription(z.array(z.string()), 'The expected labels. Empty: none of the labels applies.'),
  given: z.addDescription(
    z.nullable(z.array(z.string())),
    'The labels in the result. Null if the response was invalid.',
  ),
  confidence: z.addDescription(
    z.nullable(z.number()),
    'The share of the votes that agree, from 0 to 1. Null if there was only one vote.',
  ),
});

/** The report on one version with one model. */
export const evaluationReport = z.object({
  type: createObjectTypeSchema('evaluation'),
  name: z.addDescription(z.string(), 'The name of the classifier.'),
  version: z.addDescription(z.string(), 'The evaluated version, `name@version`.'),
  model: z.addDescription(z.string(), 'The id of the model that classified the text.'),
  examples: z.addDescription(count, 'The number of evaluated examples, without those in `skipped`.'),
  accuracy: z.addDescription(
    share,
    'The share of examples with exactly the expected labels, from 0 to 1. Invalid responses count as wrong. Null if no example was evaluated.',
  ),
  macro_f1: z.addDescription(
    share,
    'The mean of the F1 scores of the labels, from 0 to 1. Null if no label has an F1 score.',
  ),
  labels: z.addDescription(
    z.array(
      z.object({
        label: z.addDescription(z.string(), 'The name of the label.'),
        support: z.addDescription(count, 'Examples that are expected to have the label.'),
        true_positives: z.addDescription(count, 'Examples that have the label, as expected.'),
        false_positives: z.addDescription(count, 'Examples that have the label unexpectedly.'),
        false_negatives: z.addDescription(count, 'Examples that lack the label although it was expected.'),
        precision: z.addDescription(
          share,
          'Of the examples that got the label, the share that should have it. Null if no example got the label.',
        ),
        recall: z.addDescription(
          share,
          'Of the examples that should have the label, the share that got it. Null if no example should have the label.',
        ),
        f1: z.addDescription(share, 'The harmonic mean of precision and recall, from 0 to 1. Null if it is undefined.'),
      }),
    ),
    'The scores of each label.',
  ),
  confusion: z.addDescription(
    z.nullable(
      z.array(
        z.object({
          expected: z.addDescription(z.nullable(z.string()), 'The expected label. Null if none of the labels applies.'),
          given: z.addDescription(
            z.array(
              z.object({
                label: z.addDescription(
                  z.nullable(z.string()),
                  'The label in the result. Null if none of the labels was chosen.',
                ),
                count: z.addDescription(count, 'How many examples got this label.'),
              }),
            ),
            'The labels that these examples got.',
          ),
          unanswered: z.addDescription(count, 'Examples with an invalid response.'),
        }),
      ),
    ),
    'The confusion matrix: which labels were given for each expected label. Null if the classifier has `multi`.',
  ),
  mistakes: z.addDescription(z.array(mistake), 'The examples whose labels differ from the expected ones.'),
  skipped: z.addDescription(
    z.array(
      z.object({
        id: z.addDescription(z.string(), 'The id of the example.'),
        error: z.addDescription(
          z.object({
            type: z.addDescription(z.string(), 'The type of the error, such as `rate_limit_error`.'),
            message: z.addDescription(z.string(), 'A sentence that explains the error.'),
          }),
          'Why the example was not evaluated.',
        ),
      }),
    ),
    'Examples that were not evaluated because of a limit or an error of the upstream.',
  ),
  usage: z.addDescription(classifyUsage, 'The tokens that were used.'),
  cost_usd: z.addDescription(usd, 'The cost of the evaluation, in US dollars.'),
  cost_per_thousand_usd: z.addDescription(
    z.nullable(usd),
    'The cost of a thousand such examples, in US dollars. Null if no example was evaluated.',
  ),
});

export type EvaluationReport = z.output<typeof evaluationReport>;
