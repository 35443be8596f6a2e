import type { Context } from 'hono';
import type { AppEnv } from '../../gate/auth/context.ts';
import { route } from '../../gate/auth/route.ts';
import { notFound } from '../../kit/http/errors.ts';
import { streamOfTexts } from '../../kit/http/stream-of-texts.ts';
import { callerOf } from '../../kit/objects/call-object.ts';
import { classificationStub, type ObjectPlace } from '../../kit/objects/stubs.ts';
import type { ClassificationReport } from '../../named/classify/classifications-answers.schema.ts';
import type { BatchWork } from '../../named/classify/classify.route.ts';
import { callBatch } from '../batches/call-batch.ts';
import type { BatchState } from '../batches/contracts/batch.ts';
import { beginClassification, callLabels } from './begin-classification.ts';
import type { ClassificationObject, ResultPage } from './contracts/classification.ts';

const PATH = '/classifications';

/** Calls the object of a classification by batch, and again if the call was lost. @throws ObjectUnreachable 503 */
const callClassification = callerOf<ObjectPlace<'CLASSIFICATION'>, ClassificationObject>('classification', (place) =>
  classificationStub(place.env, place.settings, place),
);

/** A classification: how far it is, and what can be done with it. */
interface FoundClassification {
  report: ClassificationReport;
  results(after: number): Promise<ResultPage>;
  cancel(): Promise<ClassificationReport | undefined>;
}

/** The routes of classifications by batch. Each belongs to the account that has made it. */
export const CLASSIFICATION_ROUTES = [
  route('GET /classifications/:id', { needs: 'classify' }, async (c) =>
    c.json(shownReport(c, (await found(c)).report)),
  ),
  route('GET /classifications/:id/results', { needs: 'classify' }, async (c) => {
    const classification = await found(c);
    if (classification.report.status !== 'ended') {
      throw notFound('This classification has no results yet. Wait until its status is ended.');
    }
    const lines = streamOfTexts(resultsOf(classification));
    return new Response(lines, { headers: { 'content-type': 'application/jsonl' } });
  }),
  route('POST /classifications/:id/cancel', { needs: 'classify' }, async (c) => {
    const report = await (await found(c)).cancel();
    return c.json(shownReport(c, report ?? missing()));
  }),
];

/** Answers a request to `/classify` with `batch`. */
export async function classifyByBatch(c: Context<AppEnv>, work: BatchWork): Promise<Response> {
  const begun = await beginClassification(c, work);
  return begun instanceof Response ? begun : c.json(shownReport(c, begun), 202);
}

/** Yields the results in the order of the inputs, and the summary at the end. */
async function* resultsOf({
  report: { usage, cost_usd, model },
  results,
}: FoundClassification): AsyncGenerator<string> {
  for (let after: number | null = -1; after !== null; ) {
    const { lines, last }: ResultPage = await results(after);
    if (last !== null) yield lines;
    after = last;
  }
  yield `${JSON.stringify({ type: 'summary', usage, cost_usd, model })}\n`;
}

/** @throws ApiError 404 if the account has no such classification */
async function found(c: Context<AppEnv>): Promise<FoundClassification> {
  const id = c.req.param('id') ?? '';
  if (!/^clsbatch_[0-9a-hjkmnp-tv-z]{26}$/.test(id)) missing();
  const old = { env: c.env, settings: c.get('settings'), account: c.get('identity').account, id };
  const place = { ...old, id: id.replace('clsbatch_', 'msgbatch_') };
  const reportIn = (state: BatchState) => (state.kind === 'known' ? state.classification : undefined);
  const report = reportIn(await callBatch(place, (batch) => batch.read()));
  if (report) {
    return {
      report,
      results: (after) => callLabels(place, 'results', after),
      cancel: async () => reportIn(await callBatch(place, (batch) => batch.cancel())),
    };
  }
  // The last release had an object for each.
  return {
    report: (await callClassification(old, (job) => job.read())) ?? missing(),
    results: (after) => callClassification(old, (job) => job.results(after)),
    cancel: () => callClassification(old, (job) => job.cancel()),
  };
}

/** @returns a report with the address of the results as this caller reaches the edge */
function shownReport(c: Context<AppEnv>, report: ClassificationReport): ClassificationReport {
  if (report.status !== 'ended') return report;
  const { origin, pathname } = new URL(c.req.url);
  const base = pathname.replace(/\/(classify|classifications(\/.*)?)$/, '');
  return { ...report, results_url: `${origin}${base}${PATH}/${report.id}/results` };
}

function missing(): never {
  throw notFound('There is no such classification. POST /classify with `batch: true` makes one.');
}
