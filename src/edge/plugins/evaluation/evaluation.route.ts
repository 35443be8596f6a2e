import type { Context } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import { route } from '../../auth/route.ts';
import { createClassifyContext, respondWithResults } from '../../classify/classify.route.ts';
import { negotiateFormat, type StreamedResult } from '../../classify/result-stream.ts';
import { CLASSIFIERS, classifierIn } from '../../classify/task/classifier.ts';
import type { ClassifyContext } from '../../classify/task/take-vote.ts';
import { prepareTask, type Task } from '../../classify/task/task.ts';
import { invalidRequest } from '../../kit/http/errors.ts';
import { validate } from '../../kit/http/validate.ts';
import { removeUndefined } from '../../kit/json/object.ts';
import { noteEnd } from '../../money/admission/answer-end.ts';
import { readJson } from '../../money/admission/read-body.ts';
import { findRequested } from '../../registry/versions/versioned-routes.ts';
import { type EvaluationExample, evaluate, parseExamples } from './evaluate.ts';
import { evaluateRequest } from './evaluation.schema.ts';

/** The route that tries a classifier on labelled examples. */
export const EVALUATION_ROUTES = [
  route('POST /classifiers/:name/evaluate', { needs: 'classify', body: evaluateRequest }, async (c, { body }) => {
    const name = c.req.param('name');
    const { json } = await readJson(c, 'price');
    const { examples, model, version = name, votes, stream } = validate(body, json);
    const by = createClassifyContext(c);
    const found = await findRequested(c, CLASSIFIERS, /^[0-9a-f]{32}$/.test(version) ? `${name}@${version}` : version);
    if (found.name !== name)
      throw invalidRequest(`version: ${version} is none of ${name}. Evaluate it by its own name.`);
    const task = prepareTask(
      { ...classifierIn(found.value), ...removeUndefined({ model, votes }) },
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
  task: Task,
  examples: readonly EvaluationExample[],
  by: ClassifyContext,
): AsyncGenerator<StreamedResult, void, undefined> {
  for await (const event of evaluate(task, examples, by)) {
    if (event.type === 'progress') {
      yield event;
      continue;
    }
    const { report, total } = event;
    noteEnd(c.get('entry').line, total, total.nanodollars);
    yield { type: 'summary', name, ...report };
  }
}
