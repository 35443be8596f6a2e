/** A hundred accounts that race in one process that is killed: `test/edge/plugins/pools` has one request after the other. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { QuotaReport, UsageReport } from '#edge/money/account/usage-answers.schema.ts';
import type { PoolQuotaReport, SharedUsageReport } from '#edge/plugins/pools/pools-answers.schema.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { bearerHeader, createToken, SECRET } from '#test/support/tokens.ts';
import { type FakeUpstream, startUpstream } from '#test/support/upstream.ts';

/** At night 1000 × 20: each of the accounts races all others, which so many show as well, in half the time of 200. */
const { RACE_ACCOUNTS = '100', RACE_CALLERS = '10' } = process.env;
const accounts = Array.from({ length: Number(RACE_ACCOUNTS) }, (_, at) => `racer-${at}`);
const MODEL = 'claude-haiku-4-5-20251001';
// $1 and $5 for a million tokens.
const [INPUT, OUTPUT] = [1_000, 5_000];
const MOST_TOKENS = 300;
/** In nanodollars: what some four requests of each account cost. */
const LIMIT = accounts.length * 3_000_000;
/** Connections that are open at a time: more of them, and it is the machine that is tested. */
const AT_ONCE = 150;
/** Requests that run when the process is killed: each holds what it could have cost until its deadline. */
const KILLED = 6;
const ask = { model: MODEL, max_tokens: MOST_TOKENS, messages: [{ role: 'user' as const, content: 'Hi' }] };
const json = { 'content-type': 'application/json' };
const nano = (usd: number) => Math.round(usd * 1e9);
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

let upstream: FakeUpstream;
let edge: Edge;
let state: string;
let billed = 0;
/** Whether answers never come: then they are billed all the same. */
let isHanging = false;
let hanging = 0;

const settings = () => ({
  SIGNING_SECRET: SECRET,
  ANTHROPIC_API_KEY: 'sk-ant-of-the-deployment',
  ANTHROPIC_BASE_URL: upstream.url,
  // Once the killed ones alone hold what is left, each of a thousand waits that long for nothing.
  HOLD_WAIT_MS: '500',
  // In all: a month may end in the middle of the race.
  DEPLOYMENT_LIMITS: JSON.stringify({ usd_total: LIMIT / 1e9 }),
});

beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'sluice-pools-'));
  let seed = 7;
  upstream = await startUpstream((received, response) => {
    if (received.path.endsWith('/count_tokens')) {
      response.writeHead(200, json).end('{"input_tokens":20}');
      return;
    }
    const { max_tokens } = JSON.parse(received.body.toString()) as { max_tokens: number };
    seed = (seed * 16_807) % 2_147_483_647;
    const output_tokens = 1 + (seed % max_tokens);
    // It bills what it has begun, whoever hears of it.
    billed += 20 * INPUT + output_tokens * OUTPUT;
    hanging += isHanging ? 1 : 0;
    if (isHanging) return;
    const usage = { input_tokens: 20, output_tokens };
    const message = { id: 'msg_01', type: 'message', role: 'assistant', model: MODEL, content: [] };
    setTimeout(() => {
      if (response.destroyed) return;
      response.writeHead(200, json).end(JSON.stringify({ ...message, stop_reason: 'end_turn', usage }));
    }, seed % 20);
  });
  edge = await startEdge(inject('deployed').code, settings(), state);
});

afterAll(async () => {
  await edge.stop();
  await upstream.stop();
  await rm(state, { recursive: true, force: true });
});

async function api<T>(path: string): Promise<T> {
  const response = await fetch(edge.url + path, { headers: bearerHeader(await createToken('root', ['admin'])) });
  expect(response.ok, `${path}: ${response.status}`).toBe(true);
  return (await response.json()) as T;
}

/**
 * How long nobody is answered, and how often each of those who may ask is refused meanwhile, so that all give up: what is
 * left is held for requests that were killed. A machine that stands still refuses nobody.
 */
const PATIENCE_MS = 8_000;
const PATIENCE_REFUSALS = 2;

/** Those who call until the shared budget is spent, and wait where they are asked to. */
class Callers {
  answered = 0;
  /** Nobody gives up before the first answer. */
  #answeredAt = Number.POSITIVE_INFINITY;
  #refusals = 0;
  #left = 0;
  running = 0;
  readonly #waiting: (() => void)[] = [];
  readonly endings = new Map<string, number>();
  #gate: Promise<void> = Promise.resolve();
  #open: () => void = () => {};

  close(): void {
    this.#gate = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  open(): void {
    this.#answeredAt = Date.now();
    this.#refusals = 0;
    this.#open();
  }

  async call(token: string): Promise<void> {
    this.#left += 1;
    await this.#callOn(token);
    this.#left -= 1;
  }

  #isHopeless(): boolean {
    const refusals = PATIENCE_REFUSALS * Math.min(AT_ONCE, this.#left);
    return Date.now() - this.#answeredAt > PATIENCE_MS && this.#refusals >= refusals;
  }

  async #callOn(token: string): Promise<void> {
    for (;;) {
      await this.#gate;
      while (this.running >= AT_ONCE) {
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
        await this.#gate;
      }
      if (this.#isHopeless()) {
        this.#waiting.shift()?.();
        return;
      }
      this.running += 1;
      const ended = await this.once(token);
      this.running -= 1;
      this.#waiting.shift()?.();
      this.endings.set(ended, (this.endings.get(ended) ?? 0) + 1);
      if (ended === '429 billing_error deployment') return;
      this.#refusals += ended.startsWith('429') ? 1 : 0;
      if (ended !== '200') await pause(100 + Math.random() * 400);
    }
  }

  /** @returns how a request ended: its status, and who refused it why */
  async once(token: string): Promise<string> {
    let response: Response;
    try {
      const init = {
        method: 'POST',
        headers: { ...json, ...bearerHeader(token), 'sluice-tags': 'of=the-race' },
        body: JSON.stringify(ask),
      };
      response = await fetch(`${edge.url}/v1/messages`, init);
      const answer = (await response.json()) as { error?: { type: string; message: string } };
      // Nothing of the kind is expected: it says what it was.
      if (response.status >= 500) return `${response.status} ${answer.error?.type} ${answer.error?.message}`;
      if (response.status !== 200) {
        return `${response.status} ${answer.error?.type} ${response.headers.get('sluice-limited-by')}`;
      }
    } catch {
      return 'broken';
    }
    this.answered += 1;
    this.#answeredAt = Date.now();
    this.#refusals = 0;
    return '200';
  }
}

test(`${accounts.length} accounts with ${RACE_CALLERS} callers each spend no more than their shared budget, even if the process is killed`, async () => {
  const callers = new Callers();
  const tokens = await Promise.all(accounts.map((account) => createToken(account)));
  const called = tokens.flatMap((token) => Array.from({ length: Number(RACE_CALLERS) }, () => callers.call(token)));
  await expect.poll(() => callers.answered, { interval: 20 }).toBeGreaterThan(accounts.length * 2);
  callers.close();
  await expect.poll(() => callers.running, { interval: 20 }).toBe(0);
  await expect.poll(async () => (await api<PoolQuotaReport>('/pools/deployment')).total.leased_usd).toBe(0);
  isHanging = true;
  const killed = tokens.slice(0, KILLED).map((token) => callers.once(token));
  await expect.poll(() => hanging, { interval: 5 }).toBe(KILLED);
  await edge.kill();
  await Promise.all(killed);
  isHanging = false;
  edge = await startEdge(inject('deployed').code, settings(), state);
  callers.open();
  await Promise.all(called);

  expect(billed).toBeLessThanOrEqual(LIMIT);
  // Only these, and what broke off or was asked to wait. A pool that is slow to answer has limited nothing: it is not named.
  const waits = ['429 rate_limit_error deployment', '429 rate_limit_error null'];
  const odd = [...callers.endings.keys()].filter(
    (ending) => !['200', 'broken', '429 billing_error deployment', ...waits].includes(ending),
  );
  expect(odd).toEqual([]);

  const standings = await Promise.all(accounts.map((account) => api<QuotaReport>(`/accounts/${account}`)));
  const held = standings.reduce((sum, { total }) => sum + nano(total.held_usd), 0);
  const settled = standings.reduce((sum, { total }) => sum + nano(total.settled_usd), 0);
  // Of what was killed the rest is held, and of the pool nothing else is leased.
  const pool = async () => {
    const { total } = await api<PoolQuotaReport>('/pools/deployment');
    return { spent: nano(total.spent_usd), leased: nano(total.leased_usd) };
  };
  await expect.poll(pool, { interval: 500 }).toEqual({ spent: settled, leased: held });
  expect(settled + held).toBeLessThanOrEqual(LIMIT);
  expect(held).toBeGreaterThan(0);
  // What the killed ones may have cost is used, too: nobody can know that they cost less.
  expect(billed).toBeGreaterThanOrEqual(0.95 * (LIMIT - held));
  expect(settled + held).toBeGreaterThanOrEqual(0.95 * LIMIT);

  const sums = await api<SharedUsageReport>('/usage?group_by=account');
  expect(nano(sums.total.cost_usd)).toBe(settled);
  for (const group_by of ['model', 'day', 'token', 'tag'] as const) {
    const all = await api<SharedUsageReport>(`/usage?group_by=${group_by}`);
    expect(all.total).toEqual(sums.total);
    const ledgers = await Promise.all(
      accounts.map((account) => api<UsageReport>(`/usage?group_by=${group_by}&account=${account}`)),
    );
    const costs = new Map<string | null, number>();
    for (const { key, cost_usd } of ledgers.flatMap(({ data }) => data)) {
      costs.set(key, (costs.get(key) ?? 0) + nano(cost_usd));
    }
    // A report lists the dearest thousand.
    for (const { key, cost_usd } of all.data) expect(nano(cost_usd), `${group_by} ${key}`).toBe(costs.get(key));
  }
});
