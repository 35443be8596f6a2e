import type { Context } from 'hono';
import { requireScope } from '../auth/authenticate.ts';
import type { AppEnv } from '../auth/context.ts';
import type { BatchWork } from '../classification/classify.route.ts';
import type { ClassificationReport } from '../durable/contracts/classification.ts';
import { notFound } from '../http/errors.ts';
import { Hono } from '../http/hono.ts';
import { streamOfTexts } from '../http/stream-of-texts.ts';
import type { Fetch } from '../upstream/upstream.ts';
import { beginClassification } from './begin-classification.ts';
import { type ClassificationPlace, callClassification } from './call-classification.ts';

const PATH = '/classifications';

/** Makes the routes of classifications by batch. Each belongs to the account that has made it. */
export function classificationsRoutes() {
  return new Hono<AppEnv>()
    .get(`${PATH}/:id`, requireScope('classify'), async (c) => c.json(shownReport(c, await reportIn(c))))
    .get(`${PATH}/:id/results`, requireScope('classify'), async (c) => {
      const report = await reportIn(c);
      if (report.status !== 'ended') {
        throw notFound('This classification has no results yet. Wait until its status is ended.');
      }
      const lines = streamOfTexts(resultsOf(placeIn(c), report));
      return new Response(lines, { headers: { 'content-type': 'application/jsonl' } });
    })
    .post(`${PATH}/:id/cancel`, requireScope('classify'), async (c) => {
      const report = await callClassification(placeIn(c), (job) => job.cancel());
      return c.json(shownReport(c, report ?? missing()));
    });
}

/** @returns the function that answers a request to `/classify` with `batch` */
export function classifyByBatch(fetchUpstream: Fetch | undefined) {
  return async (c: Context<AppEnv>, work: BatchWork): Promise<Response> => {
    const begun = await beginClassification(c, work, fetchUpstream);
    return begun instanceof Response ? begun : c.json(shownReport(c, begun), 202);
  };
}

/** Yields the results in the order of the inputs, and the summary at the end. */
async function* resultsOf(
  place: ClassificationPlace,
  { usage, cost_usd, model }: ClassificationReport,
): AsyncGenerator<string> {
  for (let after: number | null = -1; after !== null; ) {
    const from: number = after;
    const { lines, last } = await callClassification(place, (job) => job.results(from));
    if (last !== null) yield lines;
    after = last;
  }
  yield `${JSON.stringify({ type: 'summary', usage, cost_usd, model })}\n`;
}

async function reportIn(c: Context<AppEnv>): Promise<ClassificationReport> {
  return (await callClassification(placeIn(c), (job) => job.read())) ?? missing();
}

/** @returns a report with the address of the results as this caller reaches the edge */
function shownReport(c: Context<AppEnv>, report: ClassificationReport): ClassificationReport {
  if (report.status !== 'ended') return report;
  const { origin, pathname } = new URL(c.req.url);
  const base = pathname.replace(/\/(classify|classifications(\/.*)?)$/, '');
  return { ...report, results_url: `${origin}${base}${PATH}/${report.id}/results` };
}

function placeIn(c: Context<AppEnv>): ClassificationPlace {
  const id = c.req.param('id') ?? '';
  if (!/^clsbatch_[0-9a-hjkmnp-tv-z]{26}$/.test(id)) missing();
  return { env: c.env, settings: c.get('settings'), account: c.get('identity').account, id };
}

function missing(): never {
  throw notFound('There is no such classification. POST /classify with `batch: true` makes one.');
}
