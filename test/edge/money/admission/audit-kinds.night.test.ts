/** Ends of answers that book what nobody saw: `audit.test.ts` draws other ends, of other answers. */
import { afterAll, expect, test } from 'vitest';
import { createResponseReport, createUnobserved } from '#edge/claude/usage/usage-report.ts';
import {
  type Answer,
  CLOSE_NOTICE_MS,
  type Class,
  computeBill,
  createAnswer,
  createRandom,
  modelOfCase,
} from '#test/support/audit.ts';
import { computeBooked, createNewEdge, grantOfAnswer } from '#test/support/audited-bills.ts';
import { readUntilEnd } from '#test/support/read-until-end.ts';

const ANSWERS = 60;
const EVERY_MS = 700;
/** How much later the API notices the end, over a network. */
const NETWORKS_MS = [0, 60, 100];
const SECOND = 'claude-opus-5-5';
const FALLBACKS = { fallbacks: [{ model: SECOND }] };
const ADVISOR = { tools: [{ type: 'advisor_20260301', name: 'advisor', model: SECOND, max_uses: 3 }] };

const edge = createNewEdge();
/** What was booked and billed in each case of a kind; nanodollars. */
type Cases = [booked: number, billed: number][];
const table: Record<string, Record<string, string | number>> = {};

afterAll(() => {
  // biome-ignore lint/suspicious/noConsole: the figures are shown with --silent=false
  console.table(table);
});

/** Notes the figures of a kind. @returns the median, and the sum of what was booked as a multiple of the sum billed */
function figuresOf(kind: string, cases: Cases): { least: number; median: number; sum: number } {
  const times = cases.map(([one, bill]) => one / bill).sort((one, other) => one - other);
  const at = (share: number) => times[Math.floor((times.length - 1) * share)] ?? Number.NaN;
  const total = (index: 0 | 1) => cases.reduce((sum, one) => sum + one[index], 0);
  const sum = total(0) / total(1);
  const [least, median, high, most] = [at(0), at(0.5), at(0.95), at(1)];
  const shown = [least, median, high, most, sum].map((one) => one.toFixed(2));
  table[kind] = {
    n: times.length,
    min: shown[0] ?? '',
    median: shown[1] ?? '',
    p95: shown[2] ?? '',
    max: shown[3] ?? '',
    sum: shown[4] ?? '',
  };
  return { least, median, sum };
}

/** @returns what is booked and billed for an answer that is stopped at a time, over a network that takes so long */
function stoppedAt(answer: Answer, at: number, networkMs = 0): [number, number] {
  const { report } = readUntilEnd(answer, 'stopped', () => at, { isLate: false, grant: grantOfAnswer(answer, edge) });
  return [computeBooked(answer, edge, report), computeBill(answer, at + CLOSE_NOTICE_MS + networkMs)];
}

function answersOf(kind: Class, more: object = {}): Answer[] {
  return Array.from({ length: ANSWERS }, (_, seed) => {
    const answer = createAnswer(kind, modelOfCase(kind, seed), createRandom(seed + 5_000));
    return { ...answer, body: { ...answer.body, ...more } };
  });
}

/** @returns times of an answer, from its first event to its last. */
function timesOf({ actions: deeds }: Answer): number[] {
  const [first = 0, last = 0] = [deeds.find(({ event }) => event)?.at, deeds.at(-1)?.at];
  const count = Math.max(0, Math.ceil((last * 0.98 - first) / EVERY_MS));
  return Array.from({ length: count }, (_, nth) => first + nth * EVERY_MS);
}

test.each([
  ['fallbacks that never begin', FALLBACKS],
  ['an advisor that never begins', ADVISOR],
] as const)('an Escape beside %s costs little more than without it', (kind, more) => {
  const ends = (body: object) =>
    answersOf('text', body).flatMap((answer) => timesOf(answer).map((at) => stoppedAt(answer, at)));
  const plain = figuresOf('neither', ends({}));
  const { least, median } = figuresOf(kind, ends(more));
  expect(least).toBeGreaterThanOrEqual(1 - 1e-9);
  expect(median).toBeLessThanOrEqual(plain.median * 1.2);
});

test.each(['handed', 'advised'] as const)('many Escapes before and behind a second model: %s', (kind) => {
  const all = answersOf(kind);
  const any = all.flatMap((answer) => timesOf(answer).map((at) => stoppedAt(answer, at)));
  expect(figuresOf(`${kind}: at any time`, any).sum).toBeGreaterThanOrEqual(1);
  // These are the named exceptions: the sum above is of all ends.
  const justBefore = all.flatMap((answer) => {
    const begun = answer.actions.find(({ at, by, prompt }) => at > 0 && by !== undefined && prompt !== undefined)?.at;
    return begun === undefined ? [] : [1, 50, 100].map((ms) => stoppedAt(answer, begun - ms));
  });
  figuresOf(`${kind}: it begins 0 to 100 ms behind`, justBefore);
});

test.each(['search', 'fetch', 'code', 'mcp'] as const)('an Escape while a result is under way: %s', (kind) => {
  for (const network of NETWORKS_MS) {
    const cases = answersOf(kind).flatMap((answer) => {
      const { actions: deeds } = answer;
      const arrivals = deeds.filter(({ at, prompt }) => at > 0 && prompt !== undefined).map(({ at }) => at);
      return arrivals.flatMap((at) => [40, 150, 300].map((ms) => stoppedAt(answer, at - ms, network)));
    });
    const { least } = figuresOf(`${kind}: result under way, ${network} ms of network`, cases);
    expect(least).toBeGreaterThanOrEqual(1 - 1e-9);
  }
});

test('a stop while the API hangs before its first event costs its prompt and a round trip', () => {
  const cases = answersOf('text').flatMap(
    (answer): Cases =>
      [5_000, 20_000, 60_000].map((hangMs) => {
        const report = { ...createResponseReport(undefined, 0), status: undefined, end: 'cut', stopped: true } as const;
        const cost = computeBooked(answer, edge, { ...report, seen: createUnobserved(hangMs) });
        return [cost, computeBill({ ...answer, actions: answer.actions.slice(0, 1) }, 0)];
      }),
  );
  const { least } = figuresOf('hanging upstream', cases);
  expect(least).toBeGreaterThanOrEqual(1 - 1e-9);
});
