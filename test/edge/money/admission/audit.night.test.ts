/** Answers that end behind each of their events: `audit.test.ts` draws when they end. */
import { afterAll, expect, test } from 'vitest';
import { answerOf, CLASSES, type Class, ENDS, type End, modelOf, NOTICE_MS, random } from '#test/support/audit.ts';
import { booked, grantFor, newEdge, quantiles, WHOLE_BILL } from '#test/support/audited-bills.ts';
import { hear } from '#test/support/hear.ts';

/** Answers of each class, each of another model. */
const ANSWERS = 4;
/** Milliseconds behind an event: at once, and when the next thing may have begun unseen. */
const BEHIND = [1, NOTICE_MS];

const edge = newEdge();
const table: { class: Class; end: End; cases: number; least: string; median: string; p95: string }[] = [];

afterAll(() => {
  const cases = table.reduce((sum, one) => sum + one.cases, 0);
  // biome-ignore lint/suspicious/noConsole: the figures are shown with --silent=false
  console.table(table);
  // biome-ignore lint/suspicious/noConsole: the figures are shown with --silent=false
  console.log(`${cases} interrupted answers; booked / billed`);
});

test.each(CLASSES.flatMap((kind) => ENDS.map((end) => [kind, end] as const)))(
  'no answer of the class %s is booked below its bill, behind whichever event it was %s',
  (kind, end) => {
    const times: number[] = [];
    const goesOn = end === 'stalled' || end === 'silent';
    for (let seed = 0; seed < ANSWERS; seed += 1) {
      const answer = answerOf(kind, modelOf(kind, seed), random(seed), { mosts: [256], goesOn });
      const grant = grantFor(answer, edge);
      const ends = answer.deeds.flatMap(({ at, event }) => (event === undefined ? [] : BEHIND.map((ms) => at + ms)));
      // A whole answer has no events.
      const moments = ends.length > 0 ? [0, ...ends] : answer.deeds.map(({ at }) => at);
      for (const [nth, moment] of moments.entries()) {
        let isFirst = true;
        const more = random(seed * 10_007 + nth);
        // What is drawn first is when it ends; the rest is for how long, and how late it is read.
        const draw = (least: number, most: number) => {
          const drawn = isFirst ? Math.min(moment, most) : more(least, most);
          isFirst = false;
          return drawn;
        };
        const { report, billed, certain } = hear(answer, end, draw, { isLate: nth % 2 === 0, grant });
        const cost = booked(answer, edge, report);
        expect(cost).toBeGreaterThanOrEqual(certain * WHOLE_BILL);
        times.push(cost / billed);
      }
    }
    const { least, median, high } = quantiles(times);
    const [told, usual, p95] = [least, median, high].map((one) => one.toFixed(2));
    table.push({ class: kind, end, cases: times.length, least: told ?? '', median: usual ?? '', p95: p95 ?? '' });
  },
);
