import type { Context } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import { route } from '../../auth/route.ts';
import { answerResults, classifyingIn } from '../../classify/classify.route.ts';
import { formatAsked, type StreamedResult } from '../../classify/result-stream.ts';
import { CLASSIFIERS, classifierIn } from '../../classify/task/classifier.ts';
import type { Classifying } from '../../classify/task/take-vote.ts';
import { prepare, type Task } from '../../classify/task/task.ts';
import { invalidRequest } from '../../kit/http/errors.ts';
import { validate } from '../../kit/http/validate.ts';
import { withoutUndefined } from '../../kit/json/object.ts';
import { noteEnd } from '../../money/admission/answer-end.ts';
import { readJson } from '../../money/admission/read-body.ts';
import { findAsked } from '../../registry/versions/named-routes.ts';
import { type EvaluationExample, evaluate, examplesOf } from './evaluate.ts';
import { evaluateRequest } from './evaluation.schema.ts';

/** The route that tries a classifier on labelled examples. */
export const EVALUATION_ROUTES = [
  route('POST /classifiers/:name/evaluate', { needs: 'classify', body: evaluateRequest }, async (c, { body }) => {
    const name = c.req.param('name');
    const { json } = await readJson(c, 'price');
    const { examples, model, version = name, votes, stream } = validate(body, json);
    const by = classifyingIn(c);
    const found = await findAsked(c, CLASSIFIERS, /^[0-9a-f]{32}$/.test(version) ? `${name}@${version}` : version);
    if (found.name !== name)
      throw invalidRequest(`version: ${version} is none of ${name}. Evaluate it by its own name.`);
    const task = prepare(
      { ...classifierIn(found.value), ...withoutUndefined({ model, votes }) },
      { settings: by.settings, version: `${name}@${found.hash}` },
    );
    const results = evaluationResults(c, name, task, examplesOf(examples, task), by);
    return await answerResults(c, formatAsked(c, stream), results, by, (_, summary) => ({
      type: 'evaluation',
      ...summary,
    }));
  }),
];

/** Yields the progress, and at the end the report. */
async function* evaluationResults(
  c: Context<AppEnv>,
  name: string,
  task: Task,
  examples: readonly EvaluationExample[],
  by: Classifying,
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
