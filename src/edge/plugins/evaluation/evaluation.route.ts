import type { Context } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import { defineRoute } from '../../auth/route.ts';
import { createClassifyContext, respondWithResults } from '../../classify/classify.route.ts';
import { negotiateFormat, type StreamedResult } from '../../classify/result-stream.ts';
import { CLASSIFIERS, normalizeStoredClassifier } from '../../classify/task/classifier.ts';
import type { ClassifyContext } from '../../classify/task/take-vote.ts';
import { type ClassificationTask, prepareClassificationTask } from '../../classify/task/task.ts';
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { removeUndefined } from '../../kit/json/object.ts';
import { addEndToLogLine } from '../../money/admission/answer-end.ts';
import { readJsonBody } from '../../money/admission/read-body.ts';
import { requireRequestedVersion } from '../../registry/versions/versioned-routes.ts';
import { type EvaluationExample, evaluateClassifier, parseExamples } from './evaluate.ts';
import { evaluateRequest } from './evaluation.schema.ts';

/** The route that tries a classifier on labelled examples. */
export const EVALUATION_ROUTES = [
  defineRoute('POST /classifiers/:name/evaluate', { needs: 'classify', body: evaluateRequest }, async (c, { body }) => {
    const name = c.req.param('name');
    const { json } = await readJsonBody(c, 'price');
    const { examples, model, version = name, votes, stream } = validateBySchema(body, json);
    const by = createClassifyContext(c);
    const found = await requireRequestedVersion(
      c,
      CLASSIFIERS,
      /^[0-9a-f]{32}$/.test(version) ? `${name}@${version}` : version,
    );
    if (found.name !== name)
      throw createInvalidRequestError(
        `version: ${version} is not a version of ${name}. Evaluate it under its own name.`,
      );
    const task = prepareClassificationTask(
      { ...normalizeStoredClassifier(found.value), ...removeUndefined({ model, votes }) },
      { settings: by.settings, version: `${name}@${found.hash}` },
    );
    const results = streamEvaluation(c, name, task, parseExamples(examples, task), by);
    return await respondWithResults(c, negotiateFormat(c, stream), results, by, (_, summary) => ({
      type: 'evaluation',
      ...summary,
    }));
  }),
];

/** Yields the progress, and at the end the report. */
async function* streamEvaluation(
  c: Context<AppEnv>,
  name: string,
  task: ClassificationTask,
  examples: readonly EvaluationExample[],
  by: ClassifyContext,
): AsyncGenerator<StreamedResult, void, undefined> {
  for await (const event of evaluateClassifier(task, examples, by)) {
    if (event.type === 'progress') {
      yield event;
      continue;
    }
    const { report, total } = event;
    addEndToLogLine(c.get('entry').line, total, total.nanodollars);
    yield { type: 'summary', name, ...report };
  }
}
