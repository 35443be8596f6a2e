/** Bills over HTTP: `test/edge/money/admission/audit.test.ts` has no connection that breaks and no process that dies. */
import { mkdtemp, rm } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { LedgerRow, QuotaReport, UsageReport } from '#edge/money/account/usage-answers.schema.ts';
import type { PoolQuotaReport } from '#edge/plugins/pools/pools-answers.schema.ts';
import {
  type Answer,
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
import { bearerHeader, createToken, SECRET } from '#test/support/tokens.ts';
import { type FakeUpstream, type ReceivedRequest, startUpstream } from '#test/support/upstream.ts';

/** Milliseconds of an answer that anybody hears. */
const HEARD_MS = 1_500;
/** Longer than any pause before an end. Who left is noticed by then, too. */
const IDLE_MS = 4_000;
const STALL_MS = 700;

/** An answer, and how it ends. The API has done what it does until `endsAt`, and until then alone its ledger counts. */
interface Case {
  name: string;
  kind: Class;
  end: End;
  answer: Answer;
  endsAt: number;
  /** Settles when everything before its end has been sent, with how many events that was. */
  sent: PromiseWithResolvers<number>;
  response?: ServerResponse;
}

let upstream: FakeUpstream;
let edge: Edge;
/** The edge that loses its power. */
let mortal: Edge;
let folder: string;
const cases = new Map<string, Case>();

const settings = () => ({
  SIGNING_SECRET: SECRET,
  ANTHROPIC_API_KEY: 'sk-ant-of-the-deployment',
  ANTHROPIC_BASE_URL: upstream.url,
  UPSTREAM_MAX_RETRIES: '0',
  // Without a limit: what accounts spend is summed, and changes no answer.
  DEPLOYMENT_LIMITS: '{}',
});
const impatient = () => ({ ...settings(), STREAM_IDLE_MS: String(IDLE_MS) });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-'));
  upstream = await startUpstream((request, response) => void play(request, response));
  edge = await startEdge(inject('deployed').code, impatient());
  mortal = await startEdge(inject('deployed').code, settings(), folder);
});

afterAll(async () => {
  await edge.stop();
  await mortal.stop();
  await upstream.stop();
  await rm(folder, { recursive: true, force: true });
});

const wait = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, Math.max(0, milliseconds)));

/** Answers a request as its case says, until its end. */
async function play({ path, body }: ReceivedRequest, response: ServerResponse): Promise<void> {
  // A stopped request without a response is counted. This upstream counts nothing, so it is booked by its bytes.
  if (path.includes('/count_tokens')) {
    response.writeHead(404).end();
    return;
  }
  const { metadata } = JSON.parse(body.toString()) as { metadata: { user_id: string } };
  const one = cases.get(metadata.user_id);
  if (!one) throw new Error(`no such case: ${metadata.user_id}`);
  one.response = response;
  const beganAt = Date.now();
  const type = one.kind === 'whole' ? 'application/json' : 'text/event-stream';
  response.writeHead(200, { 'content-type': type });
  response.flushHeaders();
  response.socket?.setNoDelay(true);
  let events = 0;
  for (const { at, event } of one.answer.actions) {
    if (event === undefined || at > one.endsAt) continue;
    await wait(at - (Date.now() - beganAt));
    response.write(event);
    if (!event.startsWith('event: ping')) events += 1;
  }
  await wait(one.endsAt - (Date.now() - beganAt));
  one.sent.resolve(events);
}

function caseOf(kind: Class, end: End, seed: number): Case {
  const draw = createRandom(seed);
  const answer = createAnswer(kind, modelOfCase(kind, seed), draw, { mosts: [256] });
  const name = `${kind}-${end}`;
  answer.body.metadata = { user_id: name };
  const endsAt = draw(0, Math.min(HEARD_MS, (answer.actions.at(-1)?.at ?? 0) * 0.99));
  const one: Case = { name, kind, end, answer, endsAt, sent: Promise.withResolvers() };
  cases.set(name, one);
  return one;
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

async function reach(at: Edge, path: string, account: string, init: RequestInit = {}): Promise<Response> {
  const headers = {
    'content-type': 'application/json',
    ...bearerHeader(await createToken(account, ['admin', 'messages'])),
  };
  return await fetch(at.url + path, { ...init, headers });
}

async function api<T>(at: Edge, path: string, account: string, init: RequestInit = {}): Promise<T> {
  return (await (await reach(at, path, account, init)).json()) as T;
}

const nano = (usd = 0) => Math.round(usd * 1e9);

/** @returns what an account has spent, by each who sums it up; nanodollars */
async function sumsOf(at: Edge, account: string): Promise<Record<string, number>> {
  const { data } = await api<{ data: LedgerRow[] }>(at, `/usage/requests?account=${account}`, account);
  const { day, total } = await api<QuotaReport>(at, `/accounts/${account}`, account);
  const usage = await api<UsageReport>(at, `/usage?account=${account}`, account);
  const csv = await (await reach(at, `/usage?account=${account}&group_by=model&format=csv`, account)).text();
  const [names = [], ...lines] = csv
    .trim()
    .split('\r\n')
    .map((line) => line.split(','));
  const column = names.indexOf('cost_usd');
  const list = await api<{ data: { cost_usd: number }[] }>(at, '/conversations', account);
  const rows = data.reduce((sum, { cost_usd }) => sum + nano(cost_usd), 0);
  return {
    rows,
    day: nano(day.settled_usd),
    total: nano(total.settled_usd),
    usage: nano(usage.total.cost_usd),
    csv: lines.reduce((sum, cells) => sum + nano(Number(cells[column])), 0),
    // A relayed answer has none.
    conversation: list.data[0] ? nano(list.data[0].cost_usd) : rows,
  };
}

/** Asks for an answer, and reads it until everything before its end has come. */
async function begin(
  { name, kind, end, answer, sent }: Case,
  at: Edge,
): Promise<{ leave: () => void; over: Promise<void> }> {
  const leaving = new AbortController();
  const isTurn = kind !== 'whole' && (end === 'stopped' || end === 'killed');
  const body = isTurn ? { ...answer.body, conversation: name } : answer.body;
  let events = 0;
  const read = async () => {
    const headers = { 'content-type': 'application/json', ...bearerHeader(await createToken(name)) };
    const init = { method: 'POST', headers, body: JSON.stringify(body), signal: leaving.signal };
    const response = await fetch(`${at.url}/v1/messages`, init);
    const decoder = new TextDecoder();
    for await (const piece of response.body ?? []) {
      events += decoder.decode(piece, { stream: true }).match(/^event: (?!ping)/gm)?.length ?? 0;
    }
  };
  // It ends as the case says: by an error, too.
  const over = read().catch(() => undefined);
  const all = await sent.promise;
  await expect.poll(() => events).toBeGreaterThanOrEqual(kind === 'whole' ? 0 : all);
  return { leave: () => leaving.abort(), over };
}

/** Lets an answer end. */
async function finish(one: Case): Promise<void> {
  const { leave, over } = await begin(one, edge);
  if (one.end === 'stopped' && one.kind !== 'whole') {
    await api(edge, `/conversations/${one.name}/stop`, one.name, { method: 'POST' });
  } else if (one.end === 'cut' || one.end === 'stalled') {
    // Who leaves after so short a stall may have left a tool that runs.
    if (one.end === 'stalled') await wait(STALL_MS);
    one.response?.destroy();
  } else if (one.end !== 'silent') leave();
  await over;
}

test('no answer is booked below its bill over HTTP, of whatever class and however it ended, and all sums are the same', async () => {
  const all = CLASSES.flatMap((kind, index) => ENDS.map((end, at) => caseOf(kind, end, index * ENDS.length + at)));
  const killed = all.filter(({ end }) => end === 'killed');
  const dying = Promise.all(killed.map((one) => begin(one, mortal)));
  const finished = Promise.all(all.filter(({ end }) => end !== 'killed').map(finish));
  const begun = await dying;
  await mortal.kill();
  for (const { leave } of begun) leave();
  mortal = await startEdge(inject('deployed').code, settings(), folder);
  await finished;
  const spent = new Map<Edge, number>();
  for (const one of all) {
    const at = one.end === 'killed' ? mortal : edge;
    if (one.end === 'killed') await api(at, `/conversations/${one.name}`, one.name);
    const isHeld = one.end === 'killed' && one.kind === 'whole';
    if (isHeld) {
      // Its account settles it at its hold, once nobody has renewed that.
      const { day } = await api<QuotaReport>(at, `/accounts/${one.name}`, one.name);
      expect(day.held_usd * 1e9, one.name).toBeGreaterThanOrEqual(billed(one));
      continue;
    }
    await expect
      .poll(async () => (await api<QuotaReport>(at, `/accounts/${one.name}`, one.name)).running_requests)
      .toBe(0);
    const { data } = await api<{ data: LedgerRow[] }>(at, `/usage/requests?account=${one.name}`, one.name);
    expect(data, one.name).toHaveLength(1);
    expect(data[0]?.estimated, one.name).toBe(true);
    const cost = nano(data[0]?.cost_usd);
    expect(cost, one.name).toBeGreaterThanOrEqual(Math.floor(billed(one)));
    const same = { rows: cost, day: cost, total: cost, usage: cost, csv: cost, conversation: cost };
    // What its object tells its account of a conversation comes a moment later.
    await expect.poll(() => sumsOf(at, one.name), { message: one.name }).toEqual(same);
    spent.set(at, (spent.get(at) ?? 0) + cost);
  }
  for (const [at, sum] of spent) {
    // Each account tells it within a minute.
    await expect
      .poll(async () => nano((await api<PoolQuotaReport>(at, '/pools/deployment', 'root')).total.spent_usd), {
        timeout: 120_000,
        interval: 1_000,
      })
      .toBe(sum);
  }
});
