import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import type { LedgerRow, QuotaReport } from '#edge/money/account/usage-answers.schema.ts';
import type { DeploymentReport } from '#edge/plugins/pools/pools-answers.schema.ts';
import { calendarLibrary, hasCompiler } from '#test/runner/calendar-library.ts';
import { ConversationDriver, conversationOfMark, createKinds, sendOnce } from '#test/support/conversation-driver.ts';
import { createDraw, type Draw } from '#test/support/create-draw.ts';
import { startEdge, startEdgeAhead } from '#test/support/edge.ts';
import { eventually } from '#test/support/eventually.ts';
import { startLocalServer } from '#test/support/local-server.ts';
import {
  type HistoryRow,
  type KillMoment,
  killOften,
  Progress,
  postInit,
  RestartingEdge,
} from '#test/support/restarting-edge.ts';
import {
  createSettings,
  type ReceivedRequest,
  type SummarizingApi,
  startSummarizingApi,
} from '#test/support/summarizing-api.ts';

// Long conversations whose oldest turns are summarized again and again, and an edge that is killed meanwhile: also while a
// summary is made. `SUMMARIES_CONVERSATIONS=40 SUMMARIES_TURNS=500 KILLS=60 KILLS_SEED=…` talks longer, and as a failure did.

const {
  SUMMARIES_CONVERSATIONS = '6',
  SUMMARIES_TURNS = '24',
  KILLS = '6',
  KILLS_SEED = String(Math.floor(Math.random() * 1e9)),
} = process.env;
const TURNS = Number(SUMMARIES_TURNS);
/** Places of each conversation where it is forked at the end. */
const PLACES = TURNS > 100 ? 30 : 3;
const HISTORY = { max_tokens: 4_000, strategy: 'summarize', summary_max_tokens: 1_200 };
/** No money is set aside for longer than this after a kill, in seconds. */
const LONGEST_HELD = 1_000;
const MOMENTS: readonly KillMoment[] = [
  ['event', 60],
  ['sent', 10],
  ['asked', 8],
  ['called', 3],
  ['summary', 2],
  ['summary', 1],
  ['summarized', 2],
];

interface Report {
  cost_usd: number;
  summaries?: { until: string; content: string; cost_usd: number }[];
}

test.skipIf(!hasCompiler())(
  `the edge loses no history and books the billed amounts when it is killed ${KILLS} times during turns and summaries`,
  async () => {
    // It is shown where the test fails.
    process.stdout.write(`KILLS_SEED=${KILLS_SEED}\n`);
    const began = Date.now();
    const draw = createDraw(Number(KILLS_SEED));
    const state = await mkdtemp(join(tmpdir(), 'sluice-summaries-'));
    const library = calendarLibrary(state);
    let vars: Record<string, string> = {};
    const lives = new RestartingEdge((seconds) => {
      if (seconds === 0) return startEdge(inject('worker'), vars, state);
      return startEdgeAhead(vars, state, { library, seconds });
    });
    const tools = await startLocalServer(async (_, response) => {
      lives.noteObserved('called');
      response.writeHead(200, { 'content-type': 'text/plain' }).end('The box is on shelf 7.');
    });
    const talks: ConversationDriver[] = [];
    const forgotten: { mark: string; fact: string; asked: ReceivedRequest }[] = [];
    const see = (asked: ReceivedRequest) => {
      const { mark = '', kind: what, text } = asked;
      const talk = talks.find(({ id }) => id === conversationOfMark(mark));
      if (!talk || what !== 'answer') return;
      const fact = [...talk.facts].find((one) => !text.includes(one));
      if (fact !== undefined) forgotten.push({ mark, fact, asked });
    };
    const api = await startSummarizingApi(lives, see);
    vars = {
      ...createSettings(api.url, tools.url),
      DEPLOYMENT_LIMITS: '{"usd_per_day":10000}',
      DEFAULT_LIMITS: '{"usd_per_day":5000}',
    };
    const kinds = createKinds(tools.url);
    for (let nth = 0; nth < Number(SUMMARIES_CONVERSATIONS); nth += 1) {
      const kind = kinds[nth % kinds.length] as (typeof kinds)[number];
      talks.push(new ConversationDriver(lives, draw, `${kind.name}-${nth}`, kind));
    }
    try {
      await lives.start();
      await talkAndKill(lives, talks, draw);
      const missing = forgotten.filter(
        ({ mark }) => !talks.some(({ truncatedCount: truncated }) => truncated.has(mark)),
      );
      expect(missing.map(({ mark, fact }) => `${mark} does not know: ${fact}`)).toEqual([]);
      const forks = await expectForks(lives, talks, api, draw);
      expect(api.faults).toEqual([]);
      const sums = await expectPaid(lives, talks, api);
      expect(lives.faults).toEqual([]);
      const truncated = talks.reduce((sum, talk) => sum + talk.truncatedCount.size, 0);
      const interrupted = talks.reduce((sum, talk) => sum + talk.interruptedCount, 0);
      const seconds = Math.round((Date.now() - began) / 1_000);
      process.stdout.write(`${JSON.stringify({ seconds, ...api.made, truncated, interrupted, ...forks, ...sums })}\n`);
      // Without summaries all of this would be worth nothing.
      expect(forks.compared).toBeGreaterThan(0);
      expect(api.made.summaries).toBeGreaterThan(talks.length);
      expect(truncated).toBeLessThan((talks.length * TURNS) / 4);
    } finally {
      await lives.stop();
      for (const { stop } of [api, tools]) stop();
      await rm(state, { recursive: true, force: true });
    }
  },
  600_000 + Number(KILLS) * 6_000 + Number(SUMMARIES_CONVERSATIONS) * TURNS * 2_000,
);

/** Has all talk at the same time. The kills are spread over their turns. */
async function talkAndKill(lives: RestartingEdge, talks: readonly ConversationDriver[], draw: Draw): Promise<void> {
  const progress = new Progress();
  const talking = talks.map(async (talk) => {
    await talk.create(HISTORY);
    for (let turn = 0; turn < TURNS; turn += 1) {
      await talk.runTurn(turn, TURNS);
      progress.noteTurn();
    }
  });
  const killing = killOften(lives, progress, {
    kills: Number(KILLS),
    of: talks.length * TURNS,
    moments: MOMENTS,
    draw,
  });
  await Promise.all(talking);
  lives.cancelKill();
  await killing;
}

/** Forks and rewinds at random places: what is kept is what was there, and without a summary all of it goes up. */
async function expectForks(
  lives: RestartingEdge,
  talks: readonly ConversationDriver[],
  api: SummarizingApi,
  draw: Draw,
) {
  const seen = { forks: 0, withoutSummary: 0, compared: 0 };
  for (const talk of talks) {
    const { summaries = [] } = await lives.getJson<Report>(`/conversations/${talk.id}`);
    const first = talk.rows.findIndex(({ id }) => id === summaries[0]?.until);
    for (let nth = 0; nth < PLACES; nth += 1) {
      // Half of them are before the end of the first summary, where a fork has none.
      const within = nth % 2 === 0 && first > 0 ? first : talk.rows.length;
      const { id = '', turn } = talk.rows[draw(within)] ?? {};
      const kept = talk.rows.slice(0, talk.rows.findLastIndex((row) => row.turn === turn) + 1);
      const forked = await fork(lives, talk.id, id);
      await expectRows(lives, forked, kept);
      await expectSameUp(lives, talk, api, { forked, id, kept, made: summaries, seen });
      // Back from there, to before another turn.
      const rewound = await fork(lives, talk.id, id);
      const back = kept[draw(kept.length)] as HistoryRow;
      const left = kept.slice(
        0,
        kept.findIndex((row) => row.turn === back.turn),
      );
      const { status, text } = await lives.requestUntilAnswered(
        `/conversations/${rewound}/rewind`,
        postInit({ before: back.id }),
      );
      expect(status, text).toBe(200);
      await expectRows(lives, rewound, left);
      const last = left.at(-1);
      if (last)
        await expectSameUp(lives, talk, api, { forked: rewound, id: last.id, kept: left, made: summaries, seen });
      seen.forks += 2;
    }
  }
  return seen;
}

let forks = 0;

async function fork(lives: RestartingEdge, source: string, at: string): Promise<string> {
  forks += 1;
  const id = `fork-${forks}`;
  const { status, text } = await lives.requestUntilAnswered(`/conversations/${source}/fork`, postInit({ id, at }));
  expect(status, text).toBeLessThan(300);
  return id;
}

async function expectRows(lives: RestartingEdge, conversation: string, kept: readonly HistoryRow[]): Promise<void> {
  expect(await lives.getAllPages<HistoryRow>(`/conversations/${conversation}/messages`), conversation).toEqual(kept);
}

interface Forked {
  forked: string;
  /** Where its last turn is. */
  id: string;
  kept: readonly HistoryRow[];
  /** The summaries of its source. */
  made: NonNullable<Report['summaries']>;
  seen: { withoutSummary: number; compared: number };
}

/** Where a fork has no summary, its next question goes up as that of a conversation that never makes any. */
async function expectSameUp(
  lives: RestartingEdge,
  talk: ConversationDriver,
  api: SummarizingApi,
  { forked, id, kept, made, seen }: Forked,
): Promise<void> {
  const { summaries = [] } = await lives.getJson<Report>(`/conversations/${forked}`);
  const ids = new Set(kept.map((row) => row.id));
  expect(summaries, forked).toEqual(made.filter(({ until }) => ids.has(until)));
  const question = `[${forked}#0] What next?`;
  const asked = async (conversation: string) => {
    api.asked.length = 0;
    const { status, text, headers } = await sendOnce(lives, conversation, question, talk.kind);
    expect(status, text).toBe(200);
    const rows = await lives.getAllPages<HistoryRow>(`/conversations/${conversation}/messages`);
    expect(rows.slice(0, kept.length), conversation).toEqual(kept);
    const up = api.asked.find(({ mark, kind: what }) => mark === `[${forked}#0]` && what === 'answer');
    return { up, isTruncated: headers.get('sluice-history') === 'truncated' };
  };
  const { up, isTruncated } = await asked(forked);
  if (summaries.length > 0) return;
  seen.withoutSummary += 1;
  // It may have grown so long that the question itself was answered behind a new one, or said that none could be made.
  if (up?.beginsWith !== 'message' || isTruncated) return;
  const twin = await fork(lives, talk.id, id);
  const patched = { ...postInit({ history: null }), method: 'PATCH' };
  expect((await lives.requestUntilAnswered(`/conversations/${twin}`, patched)).status).toBe(200);
  const other = await asked(twin);
  expect(up.body, `${forked} of ${talk.id} at ${id}`).toEqual(other.up?.body);
  seen.compared += 1;
}

/** Nothing is set aside any more, and each request is booked for what the API has billed. */
async function expectPaid(lives: RestartingEdge, talks: readonly ConversationDriver[], api: SummarizingApi) {
  await lives.kill();
  // Of what a kill has cut some is set aside still: for a quarter of an hour at most.
  await lives.start(LONGEST_HELD);
  for (const { id } of talks) await lives.getJson(`/conversations/${id}/messages?limit=1`);
  await eventually(async () => {
    const { running_requests, total } = await lives.getJson<QuotaReport>('/accounts/dev');
    expect({ running_requests, held: total.held_usd }).toEqual({ running_requests: 0, held: 0 });
  });
  const ledger = await lives.getAllPages<LedgerRow>('/usage/requests?account=dev');
  expect(new Set(ledger.map(({ request_id }) => request_id)).size, 'no row twice').toBe(ledger.length);
  const answers = ledger.flatMap(({ upstream_request_id }) => upstream_request_id ?? []);
  expect(new Set(answers).size, 'no answer is booked twice').toBe(answers.length);
  for (const row of ledger) {
    const told = JSON.stringify(row);
    const bill = api.bills.get(row.upstream_request_id ?? '');
    expect(row.status, told).not.toBe('held');
    if (row.estimated) {
      expect(row.cost_usd, told).toBeLessThanOrEqual(row.hold_usd + 1e-9);
      expect(row.cost_usd + 1e-9, told).toBeGreaterThanOrEqual(bill ?? 0);
    } else expect(row.cost_usd, told).toBeCloseTo(bill ?? 0, 8);
    if (row.route === 'summary' && row.status === 'complete') expect(bill, told).toBeGreaterThan(0);
  }
  const sum = (rows: readonly { cost_usd: number }[]) => rows.reduce((total, { cost_usd }) => total + cost_usd, 0);
  const booked = sum(ledger);
  const billed = [...api.bills.values()].reduce((total, bill) => total + bill, 0);
  expect(booked + 1e-6).toBeGreaterThanOrEqual(billed);
  const byConversation = Map.groupBy(ledger, ({ conversation }) => conversation ?? '');
  for (const [id, rows] of byConversation) {
    await eventually(async () => {
      const { cost_usd } = await lives.getJson<Report>(`/conversations/${id}`);
      expect(cost_usd, id).toBeCloseTo(sum(rows), 8);
    });
  }
  const usage = await lives.getJson<{ total: { cost_usd: number }; data: { key: string; cost_usd: number }[] }>(
    '/usage?account=dev&group_by=conversation',
  );
  expect(usage.total.cost_usd).toBeCloseTo(booked, 6);
  for (const { key, cost_usd } of usage.data) expect(cost_usd, key).toBeCloseTo(sum(byConversation.get(key) ?? []), 8);
  const { total } = await lives.getJson<QuotaReport>('/accounts/dev');
  expect(total.settled_usd).toBeCloseTo(booked, 6);
  await eventually(async () => {
    const pool = await lives.getJson<DeploymentReport>('/pools/deployment');
    expect(pool.total.spent_usd).toBeCloseTo(booked, 6);
  });
  const estimated = ledger.filter((row) => row.estimated);
  return {
    requests: ledger.length,
    summaryRows: ledger.filter(({ route }) => route === 'summary').length,
    estimated: estimated.length,
    booked,
    billed,
  };
}
