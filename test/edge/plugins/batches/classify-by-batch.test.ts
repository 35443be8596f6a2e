/**
 * `BATCH_TICKETS=10000 npx vitest run --project workerd test/edge/plugins/batches/classify-by-batch.test.ts` labels so many
 * tickets, at night.
 */
import { array, assert, asyncProperty, boolean, constantFrom, oneof, record, string, stringMatching } from 'fast-check';
import { expect, test } from 'vitest';
import { createInputs, createJobEdge, LABELS, readPayments, toNanodollars } from '#test/support/classification-jobs.ts';
import { caseCount } from '#test/support/property-cases.ts';

declare const BATCH_TICKETS: number;

test(`${BATCH_TICKETS} tickets classified by batch get the labels of /classify at half the cost, each sent once`, async () => {
  const edge = createJobEdge();
  const inputs = createInputs(BATCH_TICKETS);
  const begun = await edge.createJob({ inputs });
  expect(begun.request_counts).toMatchObject({ processing: BATCH_TICKETS, succeeded: 0 });
  const ended = await edge.settleJob(begun);
  expect(ended.request_counts).toMatchObject({ processing: 0, succeeded: BATCH_TICKETS, errored: 0 });
  expect(edge.countAskedTexts()).toEqual(new Map(inputs.map(({ input }) => [input, 1])));
  const { rows, summary } = await edge.readResults(ended);
  const direct = await edge.classifyDirectly({ inputs }, 'grace');
  expect(rows).toEqual(direct.rows);
  expect(new Set(rows.map(({ label }) => label))).toEqual(new Set(LABELS.map(({ name }) => name)));
  expect(summary).toMatchObject({ usage: direct.usage, cost_usd: ended.cost_usd });
  const cost = toNanodollars(ended.cost_usd);
  expect(cost * 2).toBe(direct.cost);
  expect(await readPayments('ada')).toEqual({ held: 0, settled: cost, rows: 1, booked: cost });
});

/** Texts of which some are equal, and some hard to carry. */
const input = oneof(
  { weight: 4, arbitrary: constantFrom(...createInputs(4).map((one) => one.input)) },
  {
    weight: 2,
    arbitrary: string({ unit: 'binary', minLength: 1, maxLength: 40 }).filter((text) => text.trim() !== ''),
  },
  constantFrom('\ud800', '\udc00x', 'a\u0000b'),
);
const inputs = array(record({ id: stringMatching(/^[a-zA-Z0-9_-]{0,9}$/), input }), {
  minLength: 1,
  maxLength: 12,
}).map((all) => all.map((one, index) => ({ ...one, id: `${one.id}${index}` })));
const task = record(
  {
    multi: boolean(),
    allow_none: boolean(),
    fields: constantFrom({ type: 'object', properties: { urgent: { type: 'boolean' } }, required: ['urgent'] }),
    instructions: string({ minLength: 1 }),
  },
  { requiredKeys: [] },
);

test('for any task a batch returns the same rows as /classify at half the cost', async () => {
  const edge = createJobEdge();
  let tried = 0;
  await assert(
    asyncProperty(inputs, task, async (given, more) => {
      tried += 1;
      const [account, other] = [`ada${tried}`, `grace${tried}`];
      const ended = await edge.settleJob(await edge.createJob({ ...more, inputs: given }, account), account);
      const { rows, summary } = await edge.readResults(ended, account);
      // An answer that was kept is free, and a batch keeps none.
      const asked = { ...more, inputs: given, cache_seconds: 0 };
      const direct = await edge.classifyDirectly(asked, other);
      expect(rows).toEqual(direct.rows);
      expect(summary.usage).toEqual(direct.usage);
      expect(toNanodollars(ended.cost_usd) * 2).toBe(direct.cost);
    }),
    { numRuns: caseCount(50) },
  );
});
