/** Bills over HTTP: `test/edge/money/admission/audit.test.ts` has no connection that breaks and no process that dies. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { QuotaReport } from '#edge/money/account/usage-answers.schema.ts';
import type { PoolQuotaReport } from '#edge/plugins/pools/pools-answers.schema.ts';
import {
  CLASSES,
  CLOSE_NOTICE_MS,
  type Class,
  computeBill,
  createAnswer,
  createRandom,
  ENDS,
  type End,
  modelOfCase,
} from '#test/support/audit.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { AuditedApi, type HttpCase, readBooked, readJson, toNanodollars, wait } from '#test/support/http-audit.ts';
import { SECRET } from '#test/support/tokens.ts';

/** Milliseconds of an answer that anybody hears. */
const HEARD_MS = 1_500;
/** Longer than any pause before an end. Who left is noticed by then, too. */
const IDLE_MS = 4_000;
const STALL_MS = 700;

interface Case extends HttpCase {
  kind: Class;
  end: End;
}

let api: AuditedApi;
let edge: Edge;
/** The edge that loses its power. */
let mortal: Edge;
let folder: string;

const settings = () => ({
  SIGNING_SECRET: SECRET,
  ANTHROPIC_API_KEY: 'sk-ant-of-the-deployment',
  ANTHROPIC_BASE_URL: api.url,
  UPSTREAM_MAX_RETRIES: '0',
  // Without a limit: what accounts spend is summed, and changes no answer.
  DEPLOYMENT_LIMITS: '{}',
});
const impatient = () => ({ ...settings(), STREAM_IDLE_MS: String(IDLE_MS) });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-'));
  api = await AuditedApi.start();
  edge = await startEdge(inject('deployed').code, impatient());
  mortal = await startEdge(inject('deployed').code, settings(), folder);
});

afterAll(async () => {
  await edge.stop();
  await mortal.stop();
  await api.stop();
  await rm(folder, { recursive: true, force: true });
});

/** @returns a case. Its prompt is not counted, so without a response it is booked by its bytes. */
function createCase(kind: Class, end: End, seed: number): Case {
  const draw = createRandom(seed);
  const answer = createAnswer(kind, modelOfCase(kind, seed), draw, { mosts: [256] });
  const endsAt = draw(0, Math.min(HEARD_MS, (answer.actions.at(-1)?.at ?? 0) * 0.99));
  return api.add<Case>({ name: `${kind}-${end}`, kind, end, answer, endsAt });
}

/** @returns what the API bills for it */
function billed({ kind, end, answer, endsAt }: Case): number {
  // A whole answer is written to its end, whoever listens.
  if (kind === 'whole') return computeBill(answer, Number.POSITIVE_INFINITY);
  const heard = answer.actions.filter(({ at, event }) => event !== undefined && at <= endsAt);
  // A silence begins with the last event, or with the headers.
  const closedAt = end === 'silent' ? (heard.at(-1)?.at ?? 0) + IDLE_MS : endsAt + (end === 'stalled' ? STALL_MS : 0);
  return computeBill(answer, closedAt + CLOSE_NOTICE_MS);
}

/** Lets an answer end. */
async function finish(one: Case): Promise<void> {
  const { leave, over } = await api.begin(one, edge);
  if (one.end === 'stopped' && one.kind !== 'whole') {
    await api.stopTurn(one, edge);
  } else if (one.end === 'cut' || one.end === 'stalled') {
    // Who leaves after so short a stall may have left a tool that runs.
    if (one.end === 'stalled') await wait(STALL_MS);
    api.cut(one);
  } else if (one.end !== 'silent') leave();
  await over;
}

test('settles every response at least at the billed cost over HTTP, for each class and each end, and the pool total is their sum', async () => {
  const all = CLASSES.flatMap((kind, index) => ENDS.map((end, at) => createCase(kind, end, index * ENDS.length + at)));
  const killed = all.filter(({ end }) => end === 'killed');
  const dying = Promise.all(killed.map((one) => api.begin(one, mortal)));
  const finished = Promise.all(all.filter(({ end }) => end !== 'killed').map(finish));
  const begun = await dying;
  await mortal.kill();
  for (const { leave } of begun) leave();
  mortal = await startEdge(inject('deployed').code, settings(), folder);
  await finished;
  const spent = new Map<Edge, number>();
  for (const one of all) {
    const at = one.end === 'killed' ? mortal : edge;
    if (one.end === 'killed') await readJson(at, `/conversations/${one.name}`, one.name);
    const isHeld = one.end === 'killed' && one.kind === 'whole';
    if (isHeld) {
      // Its account settles it at its hold, once nobody has renewed that.
      const { day } = await readJson<QuotaReport>(at, `/accounts/${one.name}`, one.name);
      expect(day.held_usd * 1e9, one.name).toBeGreaterThanOrEqual(billed(one));
      continue;
    }
    const cost = await readBooked(at, one.name);
    expect(cost, one.name).toBeGreaterThanOrEqual(Math.floor(billed(one)));
    spent.set(at, (spent.get(at) ?? 0) + cost);
  }
  for (const [at, sum] of spent) {
    // Each account tells it within a minute.
    await expect
      .poll(
        async () => toNanodollars((await readJson<PoolQuotaReport>(at, '/pools/deployment', 'root')).total.spent_usd),
        { timeout: 120_000, interval: 1_000 },
      )
      .toBe(sum);
  }
});
