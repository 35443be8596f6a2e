/** Answers that end behind each of their events: `audit.test.ts` draws when they end. */
import { afterAll, expect, test } from 'vitest';
import {
  CLASSES,
  CLOSE_NOTICE_MS,
  type Class,
  createAnswer,
  createRandom,
  ENDS,
  type End,
  modelOfCase,
} from '#test/support/audit.ts';
import {
  computeBooked,
  computeQuantiles,
  createNewEdge,
  grantOfAnswer,
  MIN_BOOKED_SHARE,
} from '#test/support/audited-bills.ts';
import { readUntilEnd } from '#test/support/read-until-end.ts';

/** Answers of each class, each of another model. */
const ANSWERS = 4;
/** Milliseconds behind an event: at once, and when the next thing may have begun unseen. */
const BEHIND = [1, CLOSE_NOTICE_MS];

const edge = createNewEdge();
const table: { class: Class; end: End; cases: number; least: string; median: string; p95: string }[] = [];

afterAll(() => {
  const cases = table.reduce((sum, one) => sum + one.cases, 0);
  // biome-ignore lint/suspicious/noConsole: the figures are shown with --silent=false
  console.table(table);
  // biome-ignore lint/suspicious/noConsole: the figures are shown with --silent=false
  console.log(`${cases} interrupted answers; booked / billed`);
});

test.each(CLASSES.flatMap((kind) => ENDS.map((end) => [kind, end] as const)))(
  'settles no response of the class %s below the billed cost, except as documented, if it is %s after any event',
  (kind, end) => {
    const times: number[] = [];
    const goesOn = end === 'stalled' || end === 'silent';
    for (let seed = 0; seed < ANSWERS; seed += 1) {
      const answer = createAnswer(kind, modelOfCase(kind, seed), createRandom(seed), { mosts: [256], goesOn });
      const grant = grantOfAnswer(answer, edge);
      const ends = answer.actions.flatMap(({ at, event }) => (event === undefined ? [] : BEHIND.map((ms) => at + ms)));
      // A whole answer has no events.
      const moments = ends.length > 0 ? [0, ...ends] : answer.actions.map(({ at }) => at);
      for (const [nth, moment] of moments.entries()) {
        let isFirst = true;
        const more = createRandom(seed * 10_007 + nth);
        // What is drawn first is when it ends; the rest is for how long, and how late it is read.
        const draw = (least: number, most: number) => {
          const drawn = isFirst ? Math.min(moment, most) : more(least, most);
          isFirst = false;
          return drawn;
        };
        const {
          report,
          billedNanodollars: billed,
          mustBook: certain,
        } = readUntilEnd(answer, end, draw, { isLate: nth % 2 === 0, grant });
        const cost = computeBooked(answer, edge, report);
        expect(cost).toBeGreaterThanOrEqual(certain * MIN_BOOKED_SHARE);
        times.push(cost / billed);
      }
    }
    const { minimum: least, median, p95: high } = computeQuantiles(times);
    const [told, usual, p95] = [least, median, high].map((one) => one.toFixed(2));
    table.push({ class: kind, end, cases: times.length, least: told ?? '', median: usual ?? '', p95: p95 ?? '' });
  },
);
