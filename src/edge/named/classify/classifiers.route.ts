import type { Context } from 'hono';
import { fromUsd, toUsd } from '../../claude/pricing/cost.ts';
import type { Fetch } from '../../claude/upstream.ts';
import { requireScope } from '../../gate/auth/authenticate.ts';
import type { AppEnv } from '../../gate/auth/context.ts';
import { encoder } from '../../kit/http/bytes.ts';
import { invalidRequest } from '../../kit/http/errors.ts';
import { Hono } from '../../kit/http/hono.ts';
import { validate } from '../../kit/http/validate.ts';
import { withoutUndefined } from '../../kit/json/object.ts';
import { admitStoring } from '../../money/admission/admit-free.ts';
import { noteEnd } from '../../money/admission/answer-end.ts';
import { readJson, readToStore } from '../../money/admission/read-body.ts';
import { type EvaluationExample, evaluate, examplesOf } from '../../rooms/evaluation/evaluate.ts';
import { evaluateRequest, MOST_CANDIDATES } from '../../rooms/evaluation/evaluation.schema.ts';
import type { Found } from '../versions/kv-copies.ts';
import { findAsked, namedRoutes, ownerName } from '../versions/named-routes.ts';
import { MAX_CLASSIFIER_BYTES, putClassifier } from './classifiers.schema.ts';
import { answerResults, classifyingIn } from './classify.route.ts';
import { formatAsked, type StreamedResult } from './result-stream.ts';
import { type Classifier, classifierOf } from './task/classifier.ts';
import { CLASSIFIERS } from './task/classifier-kind.ts';
import type { Classifying } from './task/take-vote.ts';
import { prepare } from './task/task.ts';
import { Total } from './task/total.ts';

/** Makes the routes of classifiers. An admin stores the deployment's, everybody else those of their account. */
export function classifiersRoutes(fetchUpstream?: Fetch) {
  return new Hono<AppEnv>()
    .route(
      '/',
      namedRoutes({
        stored: CLASSIFIERS,
        scope: 'classify',
        schemas: putClassifier,
        maxBytes: MAX_CLASSIFIER_BYTES,
        readBody: async (c) => (await readToStore(c, 'free')).json,
        write: (fields) => encoder.encode(JSON.stringify(classifierOf(fields))),
        show: (c, found) => c.json(classifierAnswerOf(found)),
        answerPut: (_, version) => classifierAnswerOf(version),
        admit: admitStoring,
      }),
    )
    .post('/classifiers/:name/evaluate', requireScope('classify'), (c) => evaluateClassifier(c, fetchUpstream));
}

function classifierAnswerOf({ name, hash, owner, value }: Found<Classifier>) {
  return { type: CLASSIFIERS.kind, name, version: `${name}@${hash}`, owner: ownerName(owner), ...value };
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
  const whole = { of: 'candidate', as: 'candidates', behind: { type: 'evaluation', name } };
  return await answerResults(c, format, evaluationResults(c, name, candidates, by), by, whole);
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
  noteEnd(c.get('entry').line, total, total.nanodollars);
  yield { type: 'summary', name, usage: total.usage, cost_usd: toUsd(total.nanodollars) };
}
