import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { toUsd, usdToNanodollars } from '#edge/claude/pricing/cost.ts';
import type { LedgerRow, QuotaReport } from '#edge/money/account/usage-answers.schema.ts';
import { calendarLibrary, hasCompiler } from '#test/runner/calendar-library.ts';
import { readBill } from '#test/support/bills.ts';
import { sendOnce } from '#test/support/conversation-driver.ts';
import { createDraw, type Draw } from '#test/support/create-draw.ts';
import { startEdge, startEdgeAhead } from '#test/support/edge.ts';
import { eventually } from '#test/support/eventually.ts';
import { readRequestBody, startLocalServer } from '#test/support/local-server.ts';
import { type KillMoment, killOften, Progress, postInit, RestartingEdge } from '#test/support/restarting-edge.ts';
import { SECRET } from '#test/support/tokens.ts';
import { messageEnd, messageWith as messageOf, messageStart, textBlock } from '#test/support/wire.ts';

// Conversations whose agent chooses their models, and an edge that is killed meanwhile: also while a question is labelled.
// `CHOICES_CONVERSATIONS=5000 KILLS=20 KILLS_SEED=…` asks more, and as a failure did.

const {
  CHOICES_CONVERSATIONS = '360',
  KILLS = '4',
  KILLS_SEED = String(Math.floor(Math.random() * 1e9)),
} = process.env;
const CONVERSATIONS = Number(CHOICES_CONVERSATIONS);
const AT_ONCE = 8;
const [SMALL, LARGE] = ['claude-haiku-5-5', 'claude-opus-5-5'];
const HARD = 0.4;
/** The share of conversations with three questions. */
const LONG = 0.2;
const MOST_TOKENS = 4_000;
/** No money is set aside for longer than this after a kill, in seconds. */
const LONGEST_HELD = 1_000;
/** `called`: a label is asked for. */
const MOMENTS: readonly KillMoment[] = [
  ['event', 60],
  ['sent', 10],
  ['asked', 8],
  ['called', 8],
  ['called', 1],
];

interface Planted {
  id: string;
  levels: ('easy' | 'hard')[];
}

/** @returns the model for each question, as the guide says it */
function modelsFor({ levels }: Planted): string[] {
  let isLarge = levels[0] === 'hard';
  return levels.map((level, nth) => {
    isLarge ||= level === 'hard' && levels[nth - 1] === 'hard';
    return isLarge ? LARGE : SMALL;
  });
}

function plant(draw: Draw): Planted[] {
  const level = (): 'easy' | 'hard' => (draw(100) < HARD * 100 ? 'hard' : 'easy');
  const all: Planted[] = [];
  for (let nth = 0; nth < CONVERSATIONS; nth += 1) {
    const id = `c-${nth}`;
    const levels = draw(100) < LONG * 100 ? [level(), level(), level()] : [level()];
    all.push({ id, levels });
  }
  return all;
}

/** An API that labels and answers, with books of its own: it lives on while the edge is killed. */
async function startChoosingApi(lives: RestartingEdge, draw: Draw) {
  const bills = new Map<string, number>();
  const asked = new Map<string, Set<string>>();
  const labelled = new Map<string, number>();
  let ids = 0;
  const server = await startLocalServer(async (request, response) => {
    const text = await readRequestBody(request);
    const body = JSON.parse(text) as { model: string; stream?: boolean; messages: unknown[]; output_config?: object };
    const last = JSON.stringify(body.messages.at(-1));
    const mark = /\[c-\d+#\d+\]/.exec(last)?.[0] ?? '';
    const isLabel = Object.hasOwn(body.output_config ?? {}, 'format');
    lives.noteObserved(isLabel ? 'called' : 'asked');
    if (isLabel) labelled.set(mark, (labelled.get(mark) ?? 0) + 1);
    else asked.set(mark, (asked.get(mark) ?? new Set()).add(body.model));
    ids += 1;
    const id = `req_${ids}`;
    const head = { 'request-id': id };
    // Lognormal: a few cost much more than most.
    const normal = Math.sqrt(-2 * Math.log((draw(1e6) + 1) / 1e6)) * Math.cos((2 * Math.PI * draw(1e6)) / 1e6);
    const output_tokens = isLabel ? 8 : Math.min(MOST_TOKENS, 1 + Math.round(60 * Math.exp(0.7 * normal)));
    const usage = { input_tokens: isLabel ? 200 : 100, output_tokens };
    const said = isLabel ? JSON.stringify({ label: /level=(\w+)/.exec(last)?.[1] }) : 'So.';
    const own = { id: `msg_${ids}`, model: body.model, usage };
    const told = body.stream
      ? messageStart(own) + textBlock([said]) + messageEnd({ output_tokens })
      : JSON.stringify(messageOf({ ...own, content: [{ type: 'text', text: said }] }));
    // What is sent is billed, whether the edge is still there to read it or not.
    bills.set(id, readBill(told) ?? Number.NaN);
    response.writeHead(200, { ...head, 'content-type': body.stream ? 'text/event-stream' : 'application/json' });
    response.end(told);
  });
  return { ...server, bills, asked, labelled };
}

test.skipIf(!hasCompiler())(
  `each of ${CONVERSATIONS} conversations keeps the models that its labels select through ${KILLS} kills, and is paid once`,
  async () => {
    // It is shown where the test fails.
    process.stdout.write(`KILLS_SEED=${KILLS_SEED}\n`);
    const began = Date.now();
    const draw = createDraw(Number(KILLS_SEED));
    const state = await mkdtemp(join(tmpdir(), 'sluice-choices-'));
    const library = calendarLibrary(state);
    let vars: Record<string, string> = {};
    const lives = new RestartingEdge((seconds) => {
      if (seconds === 0) return startEdge(inject('worker'), vars, state);
      return startEdgeAhead(vars, state, { library, seconds });
    });
    const api = await startChoosingApi(lives, draw);
    vars = {
      SIGNING_SECRET: SECRET,
      ANTHROPIC_API_KEY: 'key',
      ANTHROPIC_BASE_URL: api.url,
      DEFAULT_LIMITS: '{"usd_per_day":5000}',
    };
    const planted = plant(draw);
    try {
      await lives.start();
      await store(lives);
      const told = await askAndKill(lives, planted, draw);
      let fallbacks = 0;
      for (const one of planted) {
        const expected = modelsFor(one);
        for (const nth of one.levels.keys()) {
          const mark = `[${one.id}#${nth}]`;
          const models = api.asked.get(mark) ?? new Set();
          if (told.failed.has(one.id)) fallbacks += 1;
          // Where a label has failed the large one answers from then on.
          const wrong = [...models].filter(
            (model) => model !== expected[nth] && !(told.failed.has(one.id) && model === LARGE),
          );
          expect(wrong, mark).toEqual([]);
          // A stream waits for one label at most.
          expect(api.labelled.get(mark) ?? 0, mark).toBeLessThanOrEqual(told.tries.get(mark) ?? 0);
        }
      }
      const sums = await expectPaid(lives, api.bills, planted);
      expect(lives.faults).toEqual([]);
      const seconds = Math.round((Date.now() - began) / 1_000);
      const kills = lives.startCount - 1;
      process.stdout.write(`${JSON.stringify({ seconds, kills, fallbacks, ...sums })}\n`);
    } finally {
      await lives.stop();
      api.stop();
      await rm(state, { recursive: true, force: true });
    }
  },
  600_000 + CONVERSATIONS * 400,
);

/** Stores the classifier and the agent. */
async function store(lives: RestartingEdge): Promise<void> {
  const model = { by: 'difficulty', models: { easy: SMALL, hard: LARGE }, otherwise: LARGE };
  for (const [path, body] of [
    ['/classifiers/difficulty', { labels: ['easy', 'hard'], cache_seconds: 0 }],
    ['/agents/router', { max_tokens: MOST_TOKENS, model }],
  ] as const) {
    const { status, text } = await lives.requestUntilAnswered(path, { ...postInit(body), method: 'PUT' });
    expect(status, text).toBe(200);
  }
}

/** Has all conversations asked, some at the same time, each question until it has an end. */
async function askAndKill(lives: RestartingEdge, planted: readonly Planted[], draw: Draw) {
  const progress = new Progress();
  const tries = new Map<string, number>();
  const failed = new Set<string>();
  const left = [...planted];
  const ask = async (id: string, nth: number, level: string) => {
    const mark = `[${id}#${nth}]`;
    for (;;) {
      tries.set(mark, (tries.get(mark) ?? 0) + 1);
      const more = { agent: 'router' };
      const answer = await sendOnce(lives, id, `${mark} level=${level}`, { more, key: `${id}-${nth}` });
      const { status, headers, text, events } = answer;
      const chosen = headers.get('sluice-model-chosen');
      if (chosen?.includes('why=failed')) failed.add(id);
      if (status === 0 || status === 503) continue;
      expect(status, `${mark}: ${text}${lives.lastLogLines}`).toBe(200);
      const end = events.at(-1)?.event;
      if (end !== 'message_stop' && end !== 'error') continue;
      // What has failed before it said anything is no turn.
      if (events.some(({ event }) => event === 'message_start')) return;
    }
  };
  const work = async () => {
    for (let one = left.shift(); one; one = left.shift()) {
      for (const [nth, level] of one.levels.entries()) await ask(one.id, nth, level);
      progress.noteTurn();
    }
  };
  const killing = killOften(lives, progress, { kills: Number(KILLS), of: planted.length, moments: MOMENTS, draw });
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  lives.cancelKill();
  await killing;
  return { tries, failed };
}

/** Each request is booked for what the API has billed, and each conversation has begun once. */
async function expectPaid(lives: RestartingEdge, bills: ReadonlyMap<string, number>, planted: readonly Planted[]) {
  await lives.kill();
  // Of what a kill has cut some is set aside still: for a quarter of an hour at most.
  await lives.start(LONGEST_HELD);
  for (const { id } of planted) await lives.getJson(`/conversations/${id}`);
  await eventually(async () => {
    const { running_requests, total } = await lives.getJson<QuotaReport>('/accounts/dev');
    expect({ running_requests, held: total.held_usd }).toEqual({ running_requests: 0, held: 0 });
  });
  const ledger = await lives.getAllPages<LedgerRow>('/usage/requests?account=dev');
  const answers = ledger.flatMap(({ upstream_request_id }) => upstream_request_id ?? []);
  expect(new Set(answers).size, 'no answer is booked twice').toBe(answers.length);
  for (const row of ledger) {
    const told = JSON.stringify(row);
    const bill = bills.get(row.upstream_request_id ?? '');
    expect(row.cost_usd, told).toBeLessThanOrEqual(row.hold_usd + 1e-9);
    if (row.estimated) expect(row.cost_usd + 1e-9, told).toBeGreaterThanOrEqual(bill ?? 0);
    else expect(row.cost_usd, told).toBeCloseTo(bill ?? 0, 8);
  }
  const costOf = (rows: readonly LedgerRow[]) =>
    rows.reduce((sum, { cost_usd }) => sum + usdToNanodollars(cost_usd), 0);
  const billed = [...bills.values()].reduce((sum, bill) => sum + usdToNanodollars(bill), 0);
  expect(costOf(ledger)).toBeGreaterThanOrEqual(billed - bills.size);
  const begun = (row: LedgerRow) =>
    row.chosen_by?.part === 'first' && ['complete', 'stopped', 'interrupted', 'orphaned'].includes(row.status);
  const counted = ledger.filter(begun).length;
  // One that a kill has cut may have begun twice: the row of a first turn of which nothing was shown stays.
  expect(counted).toBeGreaterThanOrEqual(planted.length);
  expect(counted).toBeLessThanOrEqual(planted.length + Number(KILLS) * AT_ONCE);
  const estimated = ledger.filter((row) => row.estimated).length;
  return {
    requests: ledger.length,
    estimated,
    booked: toUsd(costOf(ledger)),
    billed: toUsd(billed),
    counted,
  };
}
