import { abortAllDurableObjects } from 'cloudflare:test';
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { Conversation } from '../../../src/conversations/conversation.ts';
import { storeAfterMs } from '../../../src/conversations/turn/publisher.ts';
import { Turn } from '../../../src/conversations/turn/turn.ts';
import type { Upstream } from '../../../src/upstream/upstream.ts';
import {
  type Answer,
  answerOf,
  billOf,
  type Class,
  type Draw,
  MODELS,
  NOTICE_MS,
  random,
} from '../../support/audit.ts';
import { simulate, stubOf } from '../../support/conversations.ts';
import { eventually } from '../../support/eventually.ts';
import { resetAll } from '../../support/reset.ts';
import { ledger } from '../../support/timed-turns.ts';
import { ask } from '../../support/turns.ts';

const encoder = new TextEncoder();
/** What comes within so many milliseconds is read together. */
const TOGETHER_MS = 100;
const AT_ONCE = 24;

/** A turn on a clock of its own. */
interface Timed {
  answer: Answer;
  sentAt: number;
  /** When its object dies. */
  diedAt: number;
  now: number;
  /** When what was shown is to be stored. */
  store: { due: number; run: () => void } | undefined;
  taken: number;
  isAtDeath: boolean;
}

/** The turns that run, by the ids of their objects, and the one whose object works just now. */
const turns = new Map<string, Timed>();
let working: Timed | undefined;

/** What a test may replace in a conversation's object. */
interface Inside {
  ctx: DurableObjectState;
  now(): number;
  upstream(): Upstream;
}

const turnIn = (object: Inside) => turns.get(String(object.ctx.id));

beforeEach(() => {
  simulate();
  const inside = Conversation.prototype as unknown as Inside;
  const spies = [
    vi.spyOn(inside, 'now').mockImplementation(function (this: Inside) {
      working = turnIn(this);
      return working ? Math.ceil(working.now) : Date.now();
    }),
    vi.spyOn(inside, 'upstream').mockImplementation(function (this: Inside) {
      return upstreamOf(turnIn(this));
    }),
  ];
  const { take } = Turn.prototype;
  const taking = vi.spyOn(Turn.prototype, 'take').mockImplementation(function (this: Turn, piece, now, lateMs) {
    const result = take.call(this, piece, now, lateMs);
    if (working) working.taken += piece.length;
    return result;
  });
  // What is shown is stored by the turn's own clock.
  const { setTimeout: wait } = globalThis;
  const waiting = vi.spyOn(globalThis, 'setTimeout').mockImplementation(((run: () => void, ms?: number) => {
    if (!working || ms === undefined || ms < storeAfterMs(0) || ms > storeAfterMs(Number.POSITIVE_INFINITY)) {
      return wait(run, ms);
    }
    working.store = { due: working.now + ms, run };
    return wait(() => {}, 0);
  }) as typeof setTimeout);
  onTestFinished(() => {
    for (const spy of [...spies, taking, waiting]) spy.mockRestore();
  });
});
afterEach(resetAll);

/** Lets the time of a turn pass. */
function pass(turn: Timed, until: number): void {
  const { store } = turn;
  if (store && store.due <= until) {
    turn.store = undefined;
    turn.now = store.due;
    store.run();
  }
  turn.now = until;
}

/** An API that gives the answer of a turn until its object dies. */
function upstreamOf(turn: Timed | undefined): Upstream {
  if (!turn) throw new Error('no such turn');
  const { answer, sentAt, diedAt } = turn;
  const pieces: { at: number; text: string }[] = [];
  for (const { at, event } of answer.deeds) {
    if (event === undefined || sentAt + at > diedAt) continue;
    const last = pieces.at(-1);
    if (last && at - last.at <= TOGETHER_MS && !last.text.includes('_start'))
      Object.assign(last, { at, text: last.text + event });
    else pieces.push({ at, text: event });
  }
  let sent = 0;
  const body = new ReadableStream(
    {
      type: 'bytes',
      async pull(controller) {
        // What came before has been read at its own time.
        while (turn.taken < sent) await new Promise((resolve) => setTimeout(resolve, 2));
        const next = pieces.shift();
        pass(turn, next ? sentAt + next.at : diedAt);
        if (next) {
          const bytes = encoder.encode(next.text);
          sent += bytes.length;
          controller.enqueue(bytes);
          return;
        }
        turn.isAtDeath = true;
        await new Promise(() => {});
      },
    },
    { highWaterMark: 0 },
  );
  return {
    baseURL: 'https://upstream.invalid',
    apiKey: 'key',
    simulated: false,
    fetch: async () => new Response(body, { headers: { 'content-type': 'text/event-stream' } }),
  };
}

/** Begins turns, loses their objects, and has them back within a second. @returns what they are booked at, by their bills, sorted */
async function ratiosOf(kinds: readonly Class[], rounds: number): Promise<number[]> {
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const begun = new Map<string, Timed & { draw: Draw }>();
    for (let index = 0; index < AT_ONCE; index += 1) {
      const id = `c${round}-${index}`;
      const draw = random(round * AT_ONCE + index);
      const kind = kinds[index % kinds.length] ?? 'text';
      // Not the slowest one: what it thinks takes longer than a row covers that nobody renews here.
      const answer = answerOf(kind, MODELS[1 + (index % 3)] ?? MODELS[1], draw, { mosts: [512, 1_024] });
      const sentAt = Date.now();
      const diedAt = sentAt + draw(0, answer.deeds.at(-1)?.at ?? 0);
      const turn = { answer, sentAt, diedAt, draw, now: sentAt, store: undefined, taken: 0, isAtDeath: false };
      begun.set(id, turn);
      turns.set(String(stubOf(id).id), turn);
    }
    // The callers are lost with the objects.
    const lost = [...begun].map(([id, { answer }]) => ask(answer.body, { id }).catch(() => undefined));
    await eventually(() => expect([...begun.values()].every(({ isAtDeath }) => isAtDeath)).toBe(true));
    await abortAllDurableObjects();
    await Promise.all(lost);
    for (const [id, turn] of begun) {
      turn.store = undefined;
      turn.now = turn.diedAt + turn.draw(50, 1_000);
      await stubOf(id).read();
    }
    const rows = await ledger();
    for (const [id, { answer, diedAt, sentAt, draw }] of begun) {
      // The connection may be closed a little later than its object died.
      const billed = billOf(answer, diedAt - sentAt + draw(0, 500) + NOTICE_MS);
      const row = rows.find(({ conversation }) => conversation === id);
      ratios.push(((row?.cost_usd ?? 0) * 1e9) / billed);
    }
    turns.clear();
    working = undefined;
  }
  return ratios.toSorted((one, other) => one - other);
}

test('144 turns whose objects died and were back within a second are booked at their bills or more, and not much more', async () => {
  const ratios = await ratiosOf(['text', 'thinking', 'tools'], 6);
  expect(ratios).toHaveLength(144);
  expect(ratios[0]).toBeGreaterThanOrEqual(1);
  expect(ratios[72]).toBeLessThanOrEqual(3);
});

test('turns that died while the API used its own tools are booked at their bills or more', async () => {
  const [least] = await ratiosOf(['search', 'fetch', 'mcp', 'code'], 1);
  expect(least).toBeGreaterThanOrEqual(1);
});
