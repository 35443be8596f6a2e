import type { Context } from 'hono';
import { fromUsd, toUsd } from '../../claude/pricing/cost.ts';
import type { Fetch } from '../../claude/upstream.ts';
import { requireScope } from '../../gate/auth/authenticate.ts';
import type { AppEnv } from '../../gate/auth/context.ts';
import { ApiError, invalidRequest } from '../../kit/http/errors.ts';
import { Hono } from '../../kit/http/hono.ts';
import { validate } from '../../kit/http/validate.ts';
import { withoutUndefined } from '../../kit/json/object.ts';
import { readJson } from '../../money/admission/read-body.ts';
import { answerWithCost, classifyingIn, noteCost, streamedResults } from '../../named/classify/classify.route.ts';
import { formatAsked, type StreamedResult } from '../../named/classify/result-stream.ts';
import { CLASSIFIERS } from '../../named/classify/task/classifier-kind.ts';
import type { Classifying } from '../../named/classify/task/take-vote.ts';
import { prepare } from '../../named/classify/task/task.ts';
import { Total } from '../../named/classify/task/total.ts';
import { findAsked } from '../../named/versions/named-routes.ts';
import { type EvaluationExample, evaluate, examplesOf } from './evaluate.ts';
import { evaluateRequest, MOST_CANDIDATES } from './evaluation.schema.ts';
import type { CandidateReport } from './evaluation-answers.schema.ts';

/** Makes the route that tries versions of a classifier on examples. */
export function evaluationRoutes(fetchUpstream?: Fetch) {
  return new Hono<AppEnv>().post('/classifiers/:name/evaluate', requireScope('classify'), (c) =>
    evaluateClassifier(c, fetchUpstream),
  );
}

async function evaluateClassifier(c: Context<AppEnv>, fetchUpstream?: Fetch): Promise<Response> {
  const name = c.req.param('name') ?? '';
  const { json } = await readJson(c, 'price');
  const { examples, models, versions = [name], votes, stream } = validate(evaluateRequest, json);
  const refs = versions.map((version) => (/^[0-9a-f]{32}$/.test(version) ? `${name}@${version}` : version));
  const count = refs.length * (models?.length ?? 1);
  if (count > MOST_CANDIDATES) {
    throw invalidRequest(`versions, models: ${count} candidates, and ${MOST_CANDIDATES} are the most.`);
  }
  const by = classifyingIn(c, fetchUpstream);
  const candidates: Candidate[] = [];
  for (const ref of refs) {
    const found = await findAsked(c, CLASSIFIERS, ref);
    if (found.name !== name) throw invalidRequest(`versions: ${ref} is none of ${name}. Evaluate it by its own name.`);
    for (const model of models ?? [found.value.model]) {
      const task = prepare(
        { ...found.value, ...withoutUndefined({ model, votes }) },
        { settings: by.settings, version: `${name}@${found.hash}` },
      );
      candidates.push({ task, examples: examplesOf(examples, task) });
    }
  }
  const format = formatAsked(c, stream);
  if (format) return streamedResults(c, format, evaluationResults(c, name, candidates, by), by);
  const reports: CandidateReport[] = [];
  for await (const { type, ...rest } of evaluationResults(c, name, candidates, by)) {
    if (type === 'candidate') reports.push(rest as unknown as CandidateReport);
    if (type === 'summary') {
      return answerWithCost({ type: 'evaluation', name, candidates: reports, ...rest }, Number(rest.cost_usd), by);
    }
  }
  throw new ApiError('api_error', 'The evaluation ended without its sum. Try again.');
}

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
  noteCost(c, total);
  yield { type: 'summary', name, usage: total.usage, cost_usd: toUsd(total.nanodollars) };
}
