import { writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { HiddenOutputClock, USUAL_PAUSE_MS } from '#edge/claude/usage/hidden-output.ts';
import { UsageReader } from '#edge/claude/usage/usage-reader.ts';
import { measureVisibleOutput } from '#edge/claude/usage/writing-speeds.ts';
import type { Settings } from '#edge/config/settings.ts';
import { getOrCreate } from '#edge/kit/cache/get-or-create.ts';
import {
  CLASSES,
  type Class,
  computeBill,
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

const CASES = 150;
const [TAUGHT, TAUGHT_UNASKED] = [200, 100];

/** Has an edge hear answers to their end, as its turns do. Each is booked at its bill. */
function teach(settings: Settings): void {
  for (let seed = 0; seed < TAUGHT + TAUGHT_UNASKED; seed += 1) {
    const draw = createRandom(1_000_000 + seed);
    // Half of them think. None is shorter than what counts.
    const kind = seed % 8 < 4 ? 'text' : 'thinking';
    const model = modelOfCase(seed < TAUGHT ? kind : 'unasked', seed);
    const answer = createAnswer(kind, model, draw, { mosts: [1_024, 2_048] });
    const clock = new HiddenOutputClock(0);
    const reader = new UsageReader({ sentAt: 0 });
    for (const { at, event } of answer.actions) {
      if (event === undefined) continue;
      reader.addPiece(new TextEncoder().encode(event), false, at);
      const { type, content_block } = JSON.parse(event.slice(event.indexOf('data: ') + 6));
      if (type === 'content_block_start') clock.recordBlockStart(content_block.type, at);
      else if (type === 'content_block_stop') clock.recordBlockEnd(at);
      else if (type === 'content_block_delta') clock.recordVisibleOutput(at, at - draw(0, 16));
    }
    const { currentReport: report } = reader;
    const outcome = { ...report, end: 'complete', written: measureVisibleOutput(report.usage, clock) } as const;
    const bill = computeBill(answer, Number.POSITIVE_INFINITY);
    expect(computeBooked(answer, settings, outcome, { account: `account-${seed % 5}` }) / bill).toBeCloseTo(1, 2);
  }
}

/** What an answer was booked at, as a multiple of its bill, by an edge that has learned and by one that has not. */
interface Case {
  learned: number;
  unlearned: number;
  billed: number;
  /** The part of the bill that must be booked each time. */
  certain: number;
  isSeen: boolean;
  /** Milliseconds of silence behind a use of a tool that ran; undefined where something else was last. */
  toolMs: number | undefined;
}

const [learned, unlearned] = [createNewEdge(), createNewEdge()];
beforeAll(() => teach(learned));

const tried = new Map<string, readonly Case[]>();

/** @param isLate whether an object that died may wake a minute later only */
function casesOf(kind: Class, end: End, isLate = false): readonly Case[] {
  return getOrCreate(tried, `${kind} ${end} ${isLate}`, () =>
    Array.from({ length: CASES }, (_, seed) => {
      const draw = createRandom(seed * 7_919 + CLASSES.indexOf(kind) * 101 + ENDS.indexOf(end));
      const goesOn = end === 'stalled' || end === 'silent';
      const answer = createAnswer(kind, modelOfCase(kind, seed), draw, { goesOn });
      const {
        report,
        billedNanodollars: billed,
        mustBook: certain,
      } = readUntilEnd(answer, end, draw, { isLate, grant: grantOfAnswer(answer, unlearned) });
      const times = (settings: Settings) => computeBooked(answer, settings, report) / billed;
      const { said = 0, thinking = 0, runs_tool: runsTool, lost_ms: lostMs } = report.seen ?? {};
      const toolMs = runsTool ? lostMs : undefined;
      const share = certain / billed;
      return {
        learned: times(learned),
        unlearned: times(unlearned),
        billed,
        certain: share,
        isSeen: said + thinking > 0,
        toolMs,
      };
    }),
  );
}

describe.each(CLASSES)('an interrupted response of the class %s', (kind) => {
  test.each(ENDS)('is never settled below the bill except as documented, with or without learned values: %s', (end) => {
    const cases = [...casesOf(kind, end), ...(end === 'killed' ? casesOf(kind, end, true) : [])];
    for (const one of cases) {
      expect(one.unlearned).toBeGreaterThanOrEqual(one.certain * MIN_BOOKED_SHARE);
      expect(one.learned).toBeGreaterThanOrEqual(one.certain * MIN_BOOKED_SHARE);
      expect(one.learned).toBeLessThanOrEqual(one.unlearned);
    }
  });
});

test.each(['advised', 'handed'] as const)(
  'settles a second model at the billed cost or more if stopped after a block, and in sum at any time: %s',
  (kind) => {
    let [sumBooked, sumBilled] = [0, 0];
    for (let seed = 0; seed < 30; seed += 1) {
      const answer = createAnswer(kind, modelOfCase(kind, seed), createRandom(seed));
      const last = answer.actions.at(-1)?.at ?? 0;
      for (let at = 30; at < last; at += 30) {
        const {
          report,
          billedNanodollars: billed,
          mustBook: certain,
        } = readUntilEnd(answer, 'stopped', () => at, {
          isLate: false,
          grant: grantOfAnswer(answer, unlearned),
        });
        const cost = computeBooked(answer, unlearned, report);
        expect(cost).toBeGreaterThanOrEqual((report.seen?.is_between ? billed : certain) * MIN_BOOKED_SHARE);
        sumBooked += cost;
        sumBilled += billed;
      }
    }
    expect(sumBooked).toBeGreaterThanOrEqual(sumBilled);
  },
);

test.each(['advised', 'handed'] as const)('settles interruptions in sum at least at the billed cost: %s', (kind) => {
  for (const end of ENDS) {
    const cases = casesOf(kind, end);
    const sum = cases.reduce((total, { learned: times, billed }) => total + times * billed, 0);
    expect(sum).toBeGreaterThanOrEqual(cases.reduce((total, { billed }) => total + billed, 0));
  }
});

/**
 * The most that the median and the 95th percentile may be. Behind a use of the API's own tools more steps may have run than
 * anybody saw, each with all results before it: how many is bounded by a least time, and most take several times as long.
 */
type Most = Partial<Record<'silence' | End, readonly [number, number]>> & { any: readonly [number, number] };
const PLAIN: Most = { any: [2, 4] };
const SERVED: Most = { any: [2, 9], silence: [3, 6], killed: [6, 40] };
const MOST: Partial<Record<Class, Most>> = {
  search: SERVED,
  fetch: SERVED,
  mcp: { ...SERVED, any: [2, 12] },
  code: { any: [2.25, 20], silence: [60, 120], killed: [10, 60] },
  slow: { any: [2, 4], cut: [3, 60], silence: [3, 16], killed: [8, 80] },
  // While it thinks unseen, it may as well have searched.
  pondered: { any: [2, 25], silence: [3, 12], killed: [6, 60] },
  // In a silence an advisor may have been asked as often as it may, and it is dearer than who asks it.
  advised: { any: [5, 18], silence: [25, 80], killed: [6, 20] },
  handed: { any: [2.5, 4] },
};

function mostOf(kind: Class, end: End): readonly [number, number] {
  const of = MOST[kind] ?? PLAIN;
  return of[end === 'stalled' || end === 'silent' ? 'silence' : end] ?? of.any;
}

describe.each(ENDS)('the settled cost of an interruption: %s', (end) => {
  test.each(CLASSES.filter((kind) => kind !== 'whole'))('is at most its class’s multiple of the bill: %s', (kind) => {
    const seen = casesOf(kind, end).filter(({ isSeen }) => isSeen);
    expect(seen.length).toBeGreaterThan(CASES / 2);
    const { median, p95: high } = computeQuantiles(seen.map((one) => one.learned));
    const [mostMedian, mostHigh] = mostOf(kind, end);
    expect(median).toBeLessThanOrEqual(mostMedian);
    expect(high).toBeLessThanOrEqual(mostHigh);
  });

  test('without observed output is at most 3 times the billed cost in the median, 8 times in the 95th percentile', () => {
    const all = (['text', 'thinking', 'tools', 'whole', 'unasked'] as const).flatMap((kind) => casesOf(kind, end));
    const { median, p95: high } = computeQuantiles(all.filter(({ isSeen }) => !isSeen).map((one) => one.learned));
    expect(median).toBeLessThanOrEqual(3);
    expect(high).toBeLessThanOrEqual(8);
  });
});

test.each(['stopped', 'left'] as const)(
  'settles a search in the median at most at 2.25 times the billed cost if it is %s while it runs',
  (end) => {
    const running = casesOf('slow', end).filter(({ toolMs = 0 }) => toolMs > USUAL_PAUSE_MS && toolMs <= 8_000);
    expect(running.length).toBeGreaterThan(CASES / 4);
    const { median, p95: high } = computeQuantiles(running.map((one) => one.learned));
    expect(median).toBeLessThanOrEqual(2.25);
    expect(high).toBeLessThanOrEqual(3.5);
  },
);

test('settles hidden thinking closer to the billed cost with learned values', () => {
  const seen = casesOf('thinking', 'stopped').filter(({ isSeen }) => isSeen);
  const [known, unknown] = [
    computeQuantiles(seen.map((one) => one.learned)),
    computeQuantiles(seen.map((one) => one.unlearned)),
  ];
  expect(known.p95).toBeLessThan(unknown.p95 * 0.8);
});

// FIGURES=<file> writes the table of all figures there.
test.runIf(process.env.FIGURES)('writes the table of figures to the file in FIGURES', () => {
  const told = (values: readonly number[]) => {
    const { minimum: least, median, p95: high } = computeQuantiles(values);
    return [values.length, ...[least, median, high].map((one) => one.toFixed(2))].join(' ');
  };
  const lines = CLASSES.flatMap((kind) =>
    [...ENDS, 'late' as const].flatMap((end) =>
      [true, false].flatMap((isSeen) => {
        const all = end === 'late' ? casesOf(kind, 'killed', true) : casesOf(kind, end);
        const cases = all.filter((one) => one.isSeen === isSeen);
        if (cases.length === 0) return [];
        const figures = [told(cases.map((one) => one.learned)), told(cases.map((one) => one.unlearned))];
        return [kind, end, isSeen ? 'seen' : 'unseen', ...figures].join(' ');
      }),
    ),
  );
  const heading = 'class end seen cases min median p95 (learned) cases min median p95 (not learned)';
  writeFileSync(process.env.FIGURES ?? '', [heading, ...lines, ''].join('\n'));
});
