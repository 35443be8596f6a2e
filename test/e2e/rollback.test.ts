/** Two releases on one disk: `test/edge/kit/objects` has one of them. */

import { globSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { FORMATS, type FormatName } from '../../src/edge/kit/objects/stored-format.ts';
import { type Edge, startEdge } from '../support/edge.ts';
import { keptRelease } from '../support/kept-release.ts';
import {
  type Asking,
  asking,
  beginPaying,
  denyPaying,
  ENDLESS,
  MODEL,
  message,
  type Page,
  readBegun,
  sendEvent,
  startApi,
  statesOf,
  varsOf,
} from '../support/releases.ts';
import { runs } from '../support/runs.ts';
import { bearer } from '../support/tokens.ts';
import type { FakeUpstream } from '../support/upstream.ts';

// A release that was kept and the present one take turns on one state, each ended by a power cut in mid-answer: an upgrade,
// a rollback, and the upgrade after it. Each finds what the others did, and goes on with it.

/** By day the first three: an upgrade and a rollback. */
const TURNS = ['kept', 'present', 'kept', 'present', 'present', 'kept'] as const;

interface Release {
  name: 'kept' | 'present';
  code: string;
  /** Where its wrangler.toml is. */
  folder?: string;
}
interface Row {
  request_id: string;
  status: string;
  cost_usd: number;
}

let upstream: FakeUpstream;
let state: string;
let running: Edge | undefined;

beforeEach(async () => {
  upstream = await startApi();
  state = await mkdtemp(join(tmpdir(), 'sluice-state-'));
});
afterEach(async () => {
  await running?.stop();
  await upstream.stop();
  await rm(state, { recursive: true, force: true });
});

/** An edge that runs, and what is asked of it. */
async function open({ code, folder }: Release) {
  const edge = await startEdge(code, varsOf(upstream), state, folder);
  running = edge;
  return { edge, ...(await asking(edge)) };
}
type Opened = Asking & { edge: Edge };

const textOf = (content: unknown) =>
  typeof content === 'string' ? content : (content as { text?: string }[]).map(({ text }) => text ?? '').join('');

const rowsOf = async ({ ask }: Opened) =>
  (await ask<Page<Row>>('root', 'GET', '/usage/requests?account=alice&limit=1000')).data;

/** What has been done so far, by whichever release. */
interface Done {
  boots: number;
  /** What was said to the conversation, in turn. */
  said: string[];
  /** Credentials that were revoked. */
  revoked: string[];
  /** The ledger's rows as they stood at rest. */
  rows: Row[];
}

/** Does a bit of everything, and leaves by a power cut in the middle of an answer. */
async function work(opened: Opened, done: Done): Promise<void> {
  const { ask, send, edge } = opened;
  const n = done.boots + 1;
  await ask('root', 'PUT', '/accounts/alice/limits', { usd_per_day: 5 + n, requests_per_minute: 1_000 });
  await ask('alice', 'PUT', `/prefixes/p${n}`, { system: `Prefix ${n}`, model: MODEL, max_tokens: 40 });
  await ask('alice', 'PUT', `/classifiers/k${n}`, { labels: ['bug', 'wish'], model: MODEL });
  await ask('alice', 'POST', '/v1/messages', message('Relayed', { prefix: 'p1', model: undefined }));
  expect(await ask('alice', 'POST', '/classify', { classifier: 'k1', input: 'a bug' })).toMatchObject({ label: 'bug' });
  const { token, jti } = await ask<{ token: string; jti: string }>('root', 'POST', '/tokens', {
    account: 'alice',
    scopes: ['messages'],
  });
  await ask('root', 'DELETE', `/accounts/alice/tokens/${jti}`);
  done.revoked.push(token);
  done.said.push(`Turn ${n}`);
  await ask('alice', 'POST', '/v1/messages', message(`Turn ${n}`, { conversation: 'c' }));
  await ask('alice', 'POST', '/conversations/c/fork', { id: `fork-${n}` });
  await beginPaying(opened, `pays-${n}`);
  await sendEvent(opened, n);
  await expect.poll(() => statesOf(opened)).toHaveLength(n);
  await expect.poll(() => statesOf(opened)).toEqual(Array(n).fill('classified'));
  done.rows = await rowsOf(opened);

  done.said.push(`${ENDLESS} ${n}`);
  const endless = await send('alice', 'POST', '/messages', message(`${ENDLESS} ${n}`, { conversation: 'c' }));
  const { reader } = await readBegun(endless);
  await expect.poll(storedOfAnswer).toMatch(/This[\s\S]* is\b/);
  await edge.kill();
  running = undefined;
  await reader?.cancel().catch(() => undefined);
  done.boots = n;
}

/** @returns the rows of the log of the answer that is under way, as they are on the disk */
function storedOfAnswer(): string {
  const files = globSync('**/*Conversation*/*.sqlite', { cwd: state }).filter(
    (file) => !file.endsWith('metadata.sqlite'),
  );
  const texts = files.flatMap((file) => {
    const database = new DatabaseSync(join(state, file), { readOnly: true });
    try {
      const log = "select text from log where turn in (select seq from turns where status = 'running') order by n";
      return database.prepare(log).all();
    } finally {
      database.close();
    }
  });
  return texts.map(({ text }) => String(text)).join('');
}

/** Holds everything that was done before against what this release says of it. */
async function verify(opened: Opened, done: Done): Promise<void> {
  const { ask, edge } = opened;
  if (done.boots === 0) return;
  const numbers = Array.from({ length: done.boots }, (_, index) => index + 1);
  const messages = await ask<Page<{ role: string; content: unknown; status: string }>>(
    'alice',
    'GET',
    '/conversations/c/messages?limit=1000',
  );
  const users = messages.data.filter(({ role }) => role === 'user');
  const answers = messages.data.filter(({ role }) => role === 'assistant');
  expect(users.map(({ content }) => textOf(content))).toEqual(done.said);
  expect(answers.map(({ status }) => status)).toEqual(numbers.flatMap(() => ['complete', 'interrupted']));
  for (const { content } of answers) expect(textOf(content)).toContain('This is');
  await expect
    .poll(async () => await ask('root', 'GET', '/accounts/alice'))
    .toMatchObject({ own_limits: { usd_per_day: 5 + done.boots }, running_requests: 0, day: { held_usd: 0 } });

  const rows = await rowsOf(opened);
  const kept = new Map(rows.map((row) => [row.request_id, row]));
  for (const { request_id, status, cost_usd } of done.rows) {
    expect(kept.get(request_id)).toMatchObject({ request_id, status, cost_usd });
  }
  expect(rows).toHaveLength(done.rows.length + 1);
  const { total } = await ask<{ total: { requests: number; cost_usd: number } }>('root', 'GET', '/usage?account=alice');
  expect(total.requests).toBe(rows.length);
  expect(total.cost_usd).toBeCloseTo(
    rows.reduce((sum, row) => sum + row.cost_usd, 0),
    12,
  );

  for (const n of numbers) {
    expect(await ask('alice', 'GET', `/prefixes/p${n}`)).toMatchObject({ name: `p${n}` });
    expect(await ask('alice', 'GET', `/classifiers/k${n}`)).toMatchObject({ name: `k${n}` });
    expect(await ask('alice', 'GET', `/conversations/fork-${n}`)).toMatchObject({ id: `fork-${n}` });
  }
  expect(await statesOf(opened)).toEqual(numbers.map(() => 'classified'));
  for (const token of done.revoked) {
    const refused = await fetch(`${edge.url}/v1/models`, { headers: bearer(token) });
    expect(refused.status).toBe(401);
    await refused.text();
  }
  // What waits for a decision goes on by the request that the other release has stored.
  await denyPaying(opened, `pays-${done.boots}`);
}

test('the kept release and the present one take turns on one state, and neither loses or misreads what the other did', async () => {
  const kept = await keptRelease();
  const releases: Record<Release['name'], Release> = {
    kept: { name: 'kept', ...kept },
    present: { name: 'present', code: inject('deployed').code },
  };
  const done: Done = { boots: 0, said: [], revoked: [], rows: [] };
  for (const name of TURNS.slice(0, runs(TURNS.length, 2.5))) {
    const opened = await open(releases[name]);
    await verify(opened, done);
    await work(opened, done);
  }
});

test('every format that is written could be read by the kept release, as one that had no versions yet reads the first', async () => {
  const { formats } = await keptRelease();
  for (const [name, { writes }] of Object.entries(FORMATS)) {
    // One that it did not know is in rows of its own, which nobody reads there.
    const isNew = Object.keys(formats).length > 0 && !Object.hasOwn(formats, name);
    if (!isNew) expect(writes, name).toBeLessThanOrEqual(formats[name as FormatName]?.reads ?? 1);
  }
});
