import type { Context } from 'hono';
import { fromUsd, toUsd } from '../../claude/pricing/cost.ts';
import type { AppEnv } from '../../gate/auth/context.ts';
import { route } from '../../gate/auth/route.ts';
import { invalidRequest } from '../../kit/http/errors.ts';
import { validate } from '../../kit/http/validate.ts';
import { withoutUndefined } from '../../kit/json/object.ts';
import { noteEnd } from '../../money/admission/answer-end.ts';
import { readJson } from '../../money/admission/read-body.ts';
import { answerResults, classifyingIn } from '../../named/classify/classify.route.ts';
import { formatAsked, type StreamedResult } from '../../named/classify/result-stream.ts';
import { CLASSIFIERS } from '../../named/classify/task/classifier.ts';
import type { Classifying } from '../../named/classify/task/take-vote.ts';
import { prepare } from '../../named/classify/task/task.ts';
import { Total } from '../../named/classify/task/total.ts';
import { findAsked } from '../../named/versions/named-routes.ts';
import { type EvaluationExample, evaluate, examplesOf } from './evaluate.ts';
import { evaluateRequest, MOST_CANDIDATES } from './evaluation.schema.ts';

/** The route that tries a classifier on labelled examples. */
export const EVALUATION_ROUTES = [
  route('POST /classifiers/:name/evaluate', { needs: 'classify', body: evaluateRequest }, async (c, { body }) => {
    const name = c.req.param('name');
    const { json } = await readJson(c, 'price');
    const { examples, models, versions = [name], votes, stream } = validate(body, json);
    const refs = versions.map((version) => (/^[0-9a-f]{32}$/.test(version) ? `${name}@${version}` : version));
    const count = refs.length * (models?.length ?? 1);
    if (count > MOST_CANDIDATES) {
      throw invalidRequest(`versions, models: ${count} candidates, and ${MOST_CANDIDATES} are the most.`);
    }
    const by = classifyingIn(c);
    const candidates: Candidate[] = [];
    for (const ref of refs) {
      const found = await findAsked(c, CLASSIFIERS, ref);
      if (found.name !== name)
        throw invalidRequest(`versions: ${ref} is none of ${name}. Evaluate it by its own name.`);
      for (const model of models ?? [found.value.model]) {
        const task = prepare(
          { ...found.value, ...withoutUndefined({ model, votes }) },
          { settings: by.settings, version: `${name}@${found.hash}` },
        );
        candidates.push({ task, examples: examplesOf(examples, task) });
      }
    }
    const format = formatAsked(c, stream);
    const whole = { of: 'candidate', as: 'candidates', behind: { type: 'evaluation', name } };
    return await answerResults(c, format, evaluationResults(c, name, candidates, by), by, whole);
  }),
];

interface Candidate {
  task: ReturnType<typeof prepare>;
  examples: EvaluationExample[];
}

/** Yields the progress, a report for each candidate, and at the end the summary. */
async function* evaluationResults(
  c: Context<AppEnv>,
  name: string,
  candidates: readonly Candidate[],
  by: Classifying,
): AsyncGenerator<StreamedResult, void, undefined> {
  const total = new Total();
  for await (const event of evaluate(candidates, by)) {
    if (event.type === 'candidate') total.add({ usage: event.usage, nanodollars: fromUsd(event.cost_usd) });
    yield event;
  }
  noteEnd(c.get('entry').line, total, total.nanodollars);
  yield { type: 'summary', name, usage: total.usage, cost_usd: toUsd(total.nanodollars) };
}
