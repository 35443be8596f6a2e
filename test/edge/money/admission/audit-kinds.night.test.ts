/** Ends of answers that book what nobody saw: `audit.test.ts` draws other ends, of other answers. */
import { afterAll, expect, test } from 'vitest';
import type { RequestOutcome } from '#edge/claude/outcome.ts';
import { computeMaximumCost } from '#edge/claude/pricing/maximum-cost.ts';
import { createResponseReport, createUnobserved } from '#edge/claude/usage/usage-report.ts';
import type { StoredOutcome } from '#edge/conversations/history/storage/rows.ts';
import { addLostTimeToOutcome } from '#edge/conversations/object/turn-settlements.ts';
import { createStoredGrant, getMaxThinkingShare } from '#edge/money/admission/attempt-settlement.ts';
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
import { type BookedCases, FigureTable } from '#test/support/figure-table.ts';
import { readUntilEnd } from '#test/support/read-until-end.ts';

const ANSWERS = 60;
const EVERY_MS = 700;
/** How much later the API notices the end, over a network. */
const NETWORKS_MS = [0, 60, 100];
const SECOND = 'claude-opus-5-5';
const FALLBACKS = { fallbacks: [{ model: SECOND }] };
const ADVISOR = { tools: [{ type: 'advisor_20260301', name: 'advisor', model: SECOND, max_uses: 3 }] };

const edge = createNewEdge();
const figures = new FigureTable();

afterAll(() => figures.print());

/** @returns what is booked and billed for an answer that is stopped at a time, over a network that takes so long */
function stoppedAt(answer: Answer, at: number, networkMs = 0): [number, number] {
  const { report } = readUntilEnd(answer, 'stopped', () => at, { isLate: false, grant: grantOfAnswer(answer, edge) });
  return [computeBooked(answer, edge, report), computeBill(answer, at + CLOSE_NOTICE_MS + networkMs)];
}

function answersOf(kind: Class, more: object = {}, course: Parameters<typeof createAnswer>[3] = {}): Answer[] {
  return Array.from({ length: ANSWERS }, (_, seed) => {
    const answer = createAnswer(kind, modelOfCase(kind, seed), createRandom(seed + 5_000), course);
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
] as const)('settles a stop beside %s at no more than 1.6 times the billed cost in the median', (kind, more) => {
  const ends = (body: object) =>
    answersOf('text', body).flatMap((answer) => timesOf(answer).map((at) => stoppedAt(answer, at)));
  figures.addKind('neither', ends({}));
  const { least, median } = figures.addKind(kind, ends(more));
  expect(least).toBeGreaterThanOrEqual(1 - 1e-9);
  expect(median).toBeLessThanOrEqual(1.6);
});

test.each(['handed', 'advised'] as const)(
  'settles many stops before and after a second model in sum at least at the billed cost: %s',
  (kind) => {
    const all = answersOf(kind);
    const any = all.flatMap((answer) => timesOf(answer).map((at) => stoppedAt(answer, at)));
    expect(figures.addKind(`${kind}: at any time`, any).sum).toBeGreaterThanOrEqual(1);
    // These are the named exceptions: the sum above is of all ends.
    const justBefore = all.flatMap((answer) => {
      const begun = answer.actions.find(({ at, by, prompt }) => at > 0 && by !== undefined && prompt !== undefined)?.at;
      return begun === undefined ? [] : [1, 50, 100].map((ms) => stoppedAt(answer, begun - ms));
    });
    figures.addKind(`${kind}: it begins 0 to 100 ms behind`, justBefore);
  },
);

/** @returns what is booked and billed where answers are stopped shortly before the results of their first uses arrive */
function stopBeforeResults(answers: readonly Answer[], networkMs: number): BookedCases {
  return answers.flatMap((answer) => {
    const results = answer.actions.filter(({ at, prompt }) => at > 0 && prompt !== undefined).slice(0, 4);
    return results.flatMap(({ at }) => [40, 150, 300].map((ms) => stoppedAt(answer, at - ms, networkMs)));
  });
}

test.each(['search', 'fetch', 'code', 'mcp'] as const)(
  'settles a stop while a tool result is pending at least at the billed cost: %s',
  (kind) => {
    for (const network of NETWORKS_MS) {
      const { least } = figures.addKind(
        `${kind}: result under way, ${network} ms of network`,
        stopBeforeResults(answersOf(kind), network),
      );
      expect(least).toBeGreaterThanOrEqual(1 - 1e-9);
    }
  },
);

/** Without `max_content_tokens`. */
const FETCH = { tools: [{ type: 'web_fetch_20260209', name: 'web_fetch', max_uses: 8 }] };

test.each([
  ['fetch', FETCH],
  ['code', {}],
  ['mcp', {}],
] as const)(
  'settles a stop while a tool result of up to 25,000 tokens is pending at least at the billed cost: %s',
  (kind, more) => {
    for (const network of NETWORKS_MS) {
      const answers = answersOf(kind, more, { maxResultTokens: 25_000 });
      const { least } = figures.addKind(
        `${kind}: long result, ${network} ms of network`,
        stopBeforeResults(answers, network),
      );
      expect(least).toBeGreaterThanOrEqual(1 - 1e-9);
    }
  },
);

/** @returns what is known of an answer of which nothing has come */
function unheard(more: Partial<RequestOutcome>, ms = 0) {
  return {
    ...createResponseReport(undefined, 0),
    status: undefined,
    end: 'cut',
    seen: createUnobserved(ms),
    ...more,
  } as const;
}

test('settles a stop while the API hangs before its first event at least at the prompt’s cost', () => {
  const cases = answersOf('text').flatMap(
    (answer): BookedCases =>
      [5_000, 20_000, 60_000].map((hangMs) => {
        const cost = computeBooked(answer, edge, unheard({ stopped: true }, hangMs));
        return [cost, computeBill({ ...answer, actions: answer.actions.slice(0, 1) }, 0)];
      }),
  );
  const { least } = figures.addKind('hanging upstream', cases);
  expect(least).toBeGreaterThanOrEqual(1 - 1e-9);
});

test('settles a first turn that is stopped before its first event at least at the billed cost', () => {
  const cases = answersOf('text').flatMap((answer) => {
    const first = answer.actions.find(({ event }) => event)?.at ?? 0;
    return [0.01, 0.5, 0.99].map((share) => stoppedAt(answer, first * share));
  });
  expect(figures.addKind('first turn stopped', cases).least).toBeGreaterThanOrEqual(1 - 1e-9);
});

/** Milliseconds after a stop at which the object dies, and the most that pass until it wakes. */
const DIES_AFTER_MS = [0, 200, 1_000, 5_000];
const WAKES_AFTER_MS = [50, 1_000, 30_000];

test('settles a stopped turn whose object dies during the rest of the response at least at the billed cost', () => {
  const cases = answersOf('text').flatMap((answer) =>
    timesOf(answer).flatMap((at): BookedCases => {
      const { report } = readUntilEnd(answer, 'stopped', () => at, {
        isLate: false,
        grant: grantOfAnswer(answer, edge),
      });
      return DIES_AFTER_MS.flatMap((dies) =>
        WAKES_AFTER_MS.map((wakes): [number, number] => {
          const stored = { ...report, sent: true, read_until: at + 60_000 } as unknown as StoredOutcome;
          const outcome = addLostTimeToOutcome({ endedAt: at }, stored, at + dies + wakes);
          return [
            computeBooked(answer, edge, outcome as Partial<RequestOutcome>),
            computeBill(answer, at + dies + CLOSE_NOTICE_MS),
          ];
        }),
      );
    }),
  );
  expect(figures.addKind('killed while reading on', cases).least).toBeGreaterThanOrEqual(1 - 1e-9);
});

/** Letters of a signature for a token that was thought, at the least and at the most. */
const SIGNED_LETTERS = [5.3, 6.5] as const;
const KEPT_TURNS = [5, 20, 60];

test.each([false, true])(
  'settles thinking in the history at the billed cost or more, and in the median at most at 1.6 times it if learned: %s',
  (isLearned) => {
    const settings = createNewEdge();
    const draw = createRandom(7);
    const think = (tokens: number) => Math.ceil(tokens * draw(...SIGNED_LETTERS));
    for (let nth = 0; nth < (isLearned ? 200 : 0); nth += 1) {
      const [answer = createAnswer('text', modelOfCase('text', 0), draw)] = answersOf('text').slice(nth % ANSWERS);
      const tokens = Math.ceil(draw(100, 900));
      const usage = {
        input_tokens: 100,
        output_tokens: tokens + 50,
        output_tokens_details: { thinking_tokens: tokens },
      };
      const whole = {
        ...unheard({}),
        status: 200,
        usage,
        completed: true,
        end: 'complete',
        signatureLength: think(tokens),
      } as const;
      computeBooked(answer, settings, { ...whole, model: answer.model.id, seen: undefined });
    }
    const cases = answersOf('text').flatMap((answer) =>
      KEPT_TURNS.map((turns): [number, number] => {
        const thoughts = Array.from({ length: turns }, () => Math.ceil(draw(100, 900)));
        const messages = thoughts.flatMap((tokens) => [
          { role: 'user', content: 'Go on.' },
          {
            role: 'assistant',
            content: [
              { type: 'thinking', thinking: '', signature: 'A'.repeat(think(tokens)) },
              { type: 'text', text: 'Done.' },
            ],
          },
        ]);
        const body = { ...answer.body, messages: [...messages, ...(answer.body.messages as object[])] };
        const [{ prompt = 0 } = {}] = answer.actions;
        const count = prompt + turns * 12;
        const { maximumCost, terms } = computeMaximumCost(body, {
          bytes: JSON.stringify(body).length,
          models: settings.models,
          count,
          leavesOutThinking: true,
          thinkingShare: getMaxThinkingShare({ settings, model: answer.model.id }),
        });
        const hold = maximumCost.inputCost + maximumCost.outputTokens * maximumCost.outputPrice;
        const grant = createStoredGrant(maximumCost, terms, { hold });
        const kept = thoughts.reduce((sum, tokens) => sum + tokens, 0);
        const booked = computeBooked(answer, settings, unheard({ stopped: true, prompt_tokens: terms.promptTokens }), {
          grant,
        });
        return [booked, (count + kept) * answer.model.input];
      }),
    );
    const { least, median } = figures.addKind(`kept thinking, ${isLearned ? 'learned' : 'not learned'}`, cases);
    expect(least).toBeGreaterThanOrEqual(1 - 1e-9);
    if (isLearned) expect(median).toBeLessThanOrEqual(1.6);
  },
);

/** Spellings of gateways. */
const SPELLINGS: readonly ((id: string) => string)[] = [
  (id) => `anthropic/${id.replace(/-(\d+)-(\d+)/, '-$1.$2')}`,
  (id) => `us.anthropic.${id}-v1:0`,
  (id) => `${id.replace(/-\d{8}$/, '')}@20260901`,
  () => 'the-best-model',
];

test.each(['complete', 'stopped'] as const)(
  'settles a gateway’s response with another spelling of the model at least at the billed cost: %s',
  (end) => {
    const cases = answersOf('text').flatMap(
      (answer): BookedCases =>
        SPELLINGS.map((spell) => {
          const last = answer.actions.at(-1)?.at ?? 0;
          const at = end === 'complete' ? last + 1 : last * 0.6;
          const { report } = readUntilEnd(answer, 'stopped', () => at, {
            isLate: false,
            grant: grantOfAnswer(answer, edge),
          });
          const ending = end === 'complete' ? ({ end, stopped: false, completed: true } as const) : {};
          const cost = computeBooked(answer, edge, { ...report, ...ending, model: spell(answer.model.id) });
          return [cost, computeBill(answer, at + CLOSE_NOTICE_MS)];
        }),
    );
    const { least, median } = figures.addKind(`another spelling of the model, ${end}`, cases);
    // The API bills whole tokens.
    expect(least).toBeGreaterThanOrEqual(end === 'complete' ? 0.999 : 1 - 1e-9);
    expect(median).toBeLessThanOrEqual(end === 'complete' ? 1.001 : 1.7);
  },
);

test('settles a prompt that a gateway counts too low at a sixteenth of its characters or more', () => {
  const cases = answersOf('text').flatMap((answer) =>
    [0, 10].map((prompt_tokens): [number, number] => {
      const { terms } = grantOfAnswer(answer, edge);
      const booked = computeBooked(answer, edge, unheard({ prompt_tokens }));
      expect(booked).toBeGreaterThanOrEqual((JSON.stringify(answer.body).length / 16 - 1) * answer.model.input);
      expect(terms?.leastPrompt).toBeGreaterThan(0);
      return [booked, computeBill({ ...answer, actions: answer.actions.slice(0, 1) }, 0)];
    }),
  );
  figures.addKind('wrong counts', cases);
});
