import { severalLabels } from '../../classify/classification.reference.ts';
import * as z from '../../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { createParameterDescriptions } from '../../registry/versions/versions.reference.ts';
import { EVALUATION_ROUTES } from './evaluation.route.ts';
import { evaluationReport } from './evaluation-answers.schema.ts';

const { version, usage, headers } = severalLabels;

/** The figures of a label that was given `support` times, each time rightly. */
const createPerfectLabelMetrics = (label: string, support: 0 | 1) => ({
  label,
  support,
  true_positives: support,
  false_positives: 0,
  false_negatives: 0,
  precision: support || null,
  recall: support || null,
  f1: support || null,
});

export const evaluations: ApiResource = {
  tag: 'Classification',
  parameters: createParameterDescriptions('tickets'),
  routes: describeRoutes(EVALUATION_ROUTES, {
    'POST /classifiers/:name/evaluate': {
      operation: 'evaluateClassifier',
      summary: 'Evaluate a classifier on labelled examples',
      description: `Returns the accuracy, the F1 score, precision and recall of each label, the confusion matrix, the cost per thousand inputs and the misclassified examples. The cache is not used.\n\n${severalLabels.streams} A progress event follows each example.`,
      body: {
        id: 'EvaluateRequest',
        example: { examples: [{ input: 'I was charged twice', label: 'billing' }] },
      },
      answer: {
        description: 'The report.',
        content: [
          {
            schema: z.addReferenceMeta(evaluationReport, { id: 'Evaluation' }),
            example: {
              type: 'evaluation',
              name: 'tickets',
              version,
              model: 'claude-haiku-5-5',
              examples: 1,
              accuracy: 1,
              macro_f1: 1,
              labels: [
                createPerfectLabelMetrics('billing', 1),
                createPerfectLabelMetrics('bug', 0),
                createPerfectLabelMetrics('other', 0),
              ],
              confusion: null,
              mistakes: [],
              skipped: [],
              usage,
              cost_usd: 0.0000304,
              cost_per_thousand_usd: 0.0304,
            },
          },
          ...severalLabels.contents,
        ],
        headers,
      },
      errors: [503],
    },
  }),
};
