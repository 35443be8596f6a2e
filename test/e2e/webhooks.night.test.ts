/** Events over HTTP and through kills: `test/edge/plugins/webhooks/inbox` has no receiver of its own process, and loses no power. */

import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Webhook as Receiver } from 'standardwebhooks';
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest';
import type { LedgerRow } from '#edge/money/account/usage-answers.schema.ts';
import type { EventReport, EventRow } from '#edge/plugins/webhooks/webhooks-answers.schema.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { caseCount } from '#test/support/property-cases.ts';
import { SECRET } from '#test/support/tokens.ts';
import { createWebhookVars } from '#test/support/webhook-vars.ts';
import { signGithub } from '../../scripts/sign-webhook.ts';

const KEY = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const settings = {
  UPSTREAM: 'simulator',
  SIGNING_SECRET: SECRET,
  SIMULATOR_TTFT_MS: '20',
  SIMULATOR_TOKENS_PER_SECOND: '0',
  GITHUB_WEBHOOK_SECRET: 'the secret of the tests',
  DELIVERY_SIGNING_SECRET: KEY,
};
/** By day fewer between two kills, of which there are as many. */
const EVENTS = caseCount(500, 2);
const KILLS = 6;

interface Page<T> {
  data: T[];
  has_more: boolean;
  last_id: string | null;
}

/** Somebody who gets results, verifies each, and answers as the test wants. */
interface Receiving {
  url: string;
  /** The ids in the order in which they came, refused ones too. */
  ids: string[];
  labels: Map<string, Set<unknown>>;
  answer: (id: string) => number;
  server: Server;
}

async function receiving(): Promise<Receiving> {
  const state: Receiving = {
    url: '',
    ids: [],
    labels: new Map(),
    answer: () => 204,
    server: createServer({ keepAliveTimeout: 0 }, async (request, response) => {
      let body = '';
      for await (const piece of request) body += String(piece);
      const headers = request.headers as Record<string, string>;
      const result = new Receiver(KEY).verify(body, headers) as { event_id: string; label: string };
      const id = headers['webhook-id'] ?? '';
      // A result that goes by another id than its event's would never be found.
      if (id !== result.event_id) throw new Error(`${id} is not ${result.event_id}`);
      state.ids.push(id);
      state.labels.set(id, (state.labels.get(id) ?? new Set()).add(JSON.stringify(result)));
      response.writeHead(state.answer(id)).end();
    }),
  };
  await new Promise<void>((resolve) => state.server.listen(0, '127.0.0.1', resolve));
  state.url = `http://127.0.0.1:${(state.server.address() as AddressInfo).port}/labels`;
  return state;
}

const bodyOf = (text: string) =>
  JSON.stringify({
    action: 'opened',
    issue: { title: text, body: 'This is a bug.', html_url: 'https://example.com/1' },
  });

async function post(edge: { url: string }, id: string, text = `Number ${id} crashes`): Promise<Response> {
  const body = bodyOf(text);
  const headers = await signGithub(body, settings.GITHUB_WEBHOOK_SECRET, 'issues', id);
  headers.set('content-type', 'application/json');
  return await fetch(`${edge.url}/webhooks/github`, { method: 'POST', headers, body });
}

async function get<T>(edge: { url: string }, path: string): Promise<T> {
  const response = await fetch(edge.url + path);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}

const reportOf = (edge: { url: string }, id: string) => get<EventReport>(edge, `/webhooks/github/events/${id}`);

async function allEvents(edge: { url: string }): Promise<EventRow[]> {
  const rows: EventRow[] = [];
  let after = '';
  for (;;) {
    const page = await get<Page<EventRow>>(edge, `/webhooks/github/events?limit=1000${after}`);
    rows.push(...page.data);
    if (!page.has_more) return rows;
    after = `&after_id=${page.last_id}`;
  }
}

const ledgerOf = async (edge: { url: string }) =>
  (await get<Page<LedgerRow>>(edge, '/usage/requests?account=webhook-github&limit=1000')).data;

let receiver: Receiving;
let state: string;
let running: Edge[] = [];

const start = async (script: string) => {
  const edge = await startEdge(
    script,
    { ...settings, ...createWebhookVars('github', { deliver_url: receiver.url }) },
    state,
  );
  running.push(edge);
  return edge;
};

beforeAll(async () => {
  receiver = await receiving();
});

afterAll(() => {
  receiver.server.closeAllConnections();
  receiver.server.close();
});

async function fresh(): Promise<void> {
  state = await mkdtemp(join(tmpdir(), 'sluice-webhooks-'));
  Object.assign(receiver, { ids: [], labels: new Map(), answer: () => 204 });
}

afterEach(async () => {
  for (const edge of running.splice(0)) await edge.stop();
  await rm(state, { recursive: true, force: true });
});

test('an event posted five times at once, and again after a restart, is classified and delivered once', async () => {
  await fresh();
  let edge = await start(inject('worker'));
  const answers = await Promise.all(Array.from({ length: 5 }, () => post(edge, 'one')));
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 200, 200, 202]);
  await expect.poll(async () => (await reportOf(edge, 'github_one')).state).toBe('delivered');
  await edge.kill();
  edge = await start(inject('worker'));
  const again = await post(edge, 'one');
  expect([again.status, await again.json()]).toEqual([200, { event_id: 'github_one', status: 'duplicate' }]);
  const report = await reportOf(edge, 'github_one');
  expect(report).toMatchObject({ label: 'bug', subject: 'https://example.com/1', attempts: [{ error: null }] });
  expect(receiver.ids).toEqual(['github_one']);
  expect(await ledgerOf(edge)).toMatchObject([{ route: 'webhook', status: 'complete' }]);
});

test('delivery succeeds on the fourth attempt after three failures; permanent failures park the event, and a replay delivers it', async () => {
  await fresh();
  const edge = await start(inject('impatient'));
  let failures = 3;
  receiver.answer = () => (failures-- > 0 ? 500 : 204);
  await post(edge, 'fourth');
  await expect.poll(async () => (await reportOf(edge, 'github_fourth')).state).toBe('delivered');
  expect((await reportOf(edge, 'github_fourth')).attempts.map(({ error }) => error?.status ?? null)).toEqual([
    500,
    500,
    500,
    null,
  ]);
  expect(receiver.ids).toEqual(Array.from({ length: 4 }, () => 'github_fourth'));

  receiver.answer = () => 503;
  await post(edge, 'parked');
  await expect.poll(async () => (await reportOf(edge, 'github_parked')).state).toBe('parked');
  const parked = await get<Page<EventRow>>(edge, '/webhooks/github/events?state=parked');
  expect(parked.data).toMatchObject([{ event_id: 'github_parked', label: 'bug', attempts: 5 }]);
  receiver.answer = () => 204;
  const replayed = await fetch(`${edge.url}/webhooks/github/events/github_parked/replay`, { method: 'POST' });
  expect(replayed.status).toBe(202);
  await expect.poll(async () => (await reportOf(edge, 'github_parked')).state).toBe('delivered');
  expect(await ledgerOf(edge)).toHaveLength(2);
  for (const results of receiver.labels.values()) expect(results.size).toBe(1);
});

test('a spent budget holds events back until budget is available again', async () => {
  await fresh();
  const edge = await start(inject('impatient'));
  const limit = async (limits: object) =>
    await fetch(`${edge.url}/accounts/webhook-github/limits`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(limits),
    });
  await limit({ usd_per_day: 1 });
  await post(edge, 'first');
  await expect.poll(async () => (await reportOf(edge, 'github_first')).state).toBe('delivered');
  const [row] = await ledgerOf(edge);
  // The budget covers some of them, but not all.
  const usd_per_day = row?.hold_usd ?? 0;
  await limit({ usd_per_day });
  await Promise.all(Array.from({ length: 40 }, (_, n) => post(edge, `many${n}`)));
  const inState = async (...states: string[]) => (await allEvents(edge)).filter(({ state }) => states.includes(state));
  // Those that only others' holds kept out come back in seconds; in the end it is the money that is spent.
  await expect
    .poll(async () => {
      const open = await inState('accepted', 'delivering', 'classifying');
      const reports = (await inState('waiting')).map(({ event_id }) => reportOf(edge, event_id));
      const errors = (await Promise.all(reports)).map(({ attempts }) => attempts.at(-1)?.error?.type);
      return open.length === 0 && errors.every((type) => type === 'billing_error');
    })
    .toBe(true);
  const waiting = await inState('waiting');
  expect(waiting.length).toBeGreaterThan(0);
  expect(waiting.length).toBeLessThan(40);
  const { next_attempt_at, attempts } = await reportOf(edge, waiting[0]?.event_id ?? '');
  expect(attempts.at(-1)).toMatchObject({ error: { type: 'billing_error' } });
  expect(new Date(next_attempt_at ?? '').toISOString().slice(11, 19)).toMatch(/^00:00:0\d$/);
  const spent = (await ledgerOf(edge)).reduce((sum, { cost_usd }) => sum + cost_usd, 0);
  expect(spent).toBeLessThanOrEqual(usd_per_day);
  await limit({ usd_per_day: 1 });
  await post(edge, 'last');
  await expect.poll(async () => (await inState('delivered')).length).toBe(42);
});

test(`each of ${EVENTS} events is classified once and delivered under its id while the server is killed at random`, async () => {
  await fresh();
  let edge = await start(inject('impatient'));
  // One in ten is refused at first.
  const refused = new Set<string>();
  receiver.answer = (id) => (id.endsWith('7') && refused.size < refused.add(id).size ? 500 : 204);
  const accepted = new Set<string>();
  let next = 0;
  let kills = 0;
  let interrupted = 0;
  /** Sends until it is answered, as senders do: what was not answered is sent again under the same id. */
  const sender = async () => {
    while (next < EVENTS) {
      const id = `n${next++}`;
      for (;;) {
        // An answer that a kill has cut is none.
        const answer = await post(edge, id)
          .then(async (response) => (response.ok ? ((await response.json()) as { event_id: string }) : undefined))
          .catch(() => undefined);
        if (answer) {
          accepted.add(answer.event_id);
          break;
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  };
  const killer = async () => {
    for (; kills < KILLS; kills += 1) {
      // Always in the middle: before the senders are through.
      while (next < ((kills + 0.5) * EVENTS) / KILLS) await new Promise((resolve) => setTimeout(resolve, 5));
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 150));
      await edge.kill();
      running = running.filter((other) => other !== edge);
      edge = await start(inject('impatient'));
      if ((await allEvents(edge)).some(({ state }) => state !== 'delivered')) interrupted += 1;
    }
  };
  await Promise.all([killer(), ...Array.from({ length: 8 }, sender)]);
  expect(interrupted).toBeGreaterThan(KILLS / 2);
  expect(accepted.size).toBe(EVENTS);
  await expect
    .poll(async () => (await allEvents(edge)).filter(({ state }) => state !== 'delivered').length, { interval: 500 })
    .toBe(0);
  const rows = await allEvents(edge);
  expect(new Set(rows.map(({ event_id }) => event_id))).toEqual(accepted);
  expect(rows).toHaveLength(EVENTS);
  expect(rows.every(({ label }) => label === 'bug')).toBe(true);
  expect(new Set(receiver.ids)).toEqual(accepted);
  // However often a result was delivered, it was the same one.
  for (const [id, results] of receiver.labels) expect(results.size, id).toBe(1);
});
