/** Stores many objects of each kind, calls every route and every alarm, and counts the rows that each of them reads and writes. */
import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { onTestFinished } from 'vitest';
import { DEPLOYMENT } from '#edge/auth/identity/identity.ts';
import { getAccountStub, getConversationStub, getDurableObjectStub, getInboxStub } from '#edge/durable/stubs.ts';
import { HOUR_MS, MINUTE_MS } from '#edge/kit/async/durations.ts';
import { getOrCreate } from '#edge/kit/cache/get-or-create.ts';
import { accountList, groupList } from '#edge/kit/kv/name-list.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import type { AccountState } from '#edge/money/account/account-state.ts';
import { ALERT_SOURCE } from '#edge/money/alerts/alert-source.ts';
import type { Pool } from '#edge/plugins/pools/pool.ts';
import { settleInside } from '#test/edge/money/account/admission-requests.ts';
import { told } from '#test/edge/plugins/pools/lease-calls.ts';
import { installSimulator } from './conversations.ts';
import { changeProfile } from './damage.ts';
import { eventually } from './eventually.ts';
import { disableAutomaticAlarms } from './pending-work.ts';
import { createSimulatedEdge } from './prefixes.ts';
import { ROUTES } from './routes.ts';
import { noteRowCounts, type RowCount } from './row-counts.ts';
import { bearerHeader, createToken } from './tokens.ts';
import { createEvent, getInbox } from './webhooks.ts';

const bindings = env as unknown as Bindings;
const ACCOUNT = 'alice';
/** KV has lists of names, and a name has no row. */
const MAX_LISTED_NAMES = 1_000;

/** What a route, an event or an alarm has read and written. */
export interface MeasuredRows extends RowCount {
  /** The statement that has read most. */
  statement: string;
}

type AnyStub = DurableObjectStub<undefined>;
const toStub = (stub: unknown) => stub as AnyStub;
const OBJECTS: Readonly<Record<string, () => AnyStub>> = {
  account: () => toStub(getAccountStub(bindings, {}, ACCOUNT)),
  'the account of the deployment': () => toStub(getAccountStub(bindings, {}, DEPLOYMENT)),
  conversation: () => toStub(getConversationStub(bindings, {}, { account: ACCOUNT, id: 'c1' })),
  inbox: () => toStub(getInboxStub(bindings, {}, 'github')),
  'the inbox of alerts': () => toStub(getInboxStub(bindings, {}, ALERT_SOURCE)),
  pool: () => toStub(getDurableObjectStub(bindings.POOL, {}, 'deployment')),
};

/** SQL for the columns of a copy; `i` is its number. Other columns of the key get the number appended or added. */
const COPIED: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  conversations: { created_at: 'created_at - i', updated_at: 'updated_at - i' },
  events: { id: "id || '_' || i", received_at: 'received_at + i', seq: 'null' },
  versions: { at: 'at - i' },
  tokens: { minted_at: 'minted_at - i' },
  changes: { at: 'at - i' },
  owned_resources: { created_at: 'created_at - i' },
  batches: { created_at: 'created_at - i', key: "key || '_' || i" },
};

/** Copies the newest row of a table so many times. */
function copyLastRow({ exec }: { exec: SqlStorage['exec'] }, table: string, count: number, only = 'true'): void {
  const columns = exec<{ name: string; pk: number; type: string }>(
    'select name, pk, type from pragma_table_info(?)',
    table,
  ).toArray();
  if (columns.length === 0) throw new Error(`There is no table ${table}.`);
  const values = columns.map(({ name, pk, type }) => {
    const known = COPIED[table]?.[name];
    if (known !== undefined) return known;
    if (pk === 0 || (name === 'kind' && pk > 0)) return `"${name}"`;
    return type.toLowerCase() === 'text' ? `"${name}" || '-' || i` : `"${name}" + i`;
  });
  const names = columns.map(({ name }) => `"${name}"`).join(', ');
  exec(
    `insert into ${table} (${names}) with recursive numbers (i) as (select 1 union all select i + 1 from numbers where i < ?)
     select ${values.join(', ')} from (select * from ${table} where ${only} limit 1), numbers`,
    count,
  );
}

async function copyRows(
  object: keyof typeof OBJECTS,
  tables: readonly string[],
  count: number,
  only: Record<string, string> = {},
): Promise<void> {
  await runInDurableObject(getObject(object), (_, { storage }) => {
    const exec = storage.sql.exec.bind(storage.sql) as SqlStorage['exec'];
    storage.transactionSync(() => {
      for (const table of tables) copyLastRow({ exec }, table, count, only[table]);
    });
  });
}

function getObject(name: keyof typeof OBJECTS): AnyStub {
  const stub = OBJECTS[name]?.();
  if (!stub) throw new Error(`There is no object ${name}.`);
  return stub;
}

const question = { messages: [{ role: 'user', content: 'Hello' }] };
const stored = { model: 'claude-haiku-5-5', system: 'You are brief.' };
const labels = { labels: ['one', 'two'], model: 'claude-haiku-5-5' };

/** The question of the newest turn. */
const LAST_MESSAGE = 'user_0';

/** @returns the id of a stored request, of the form that the edge gives */
const createNumberedRequestId = (n: number) => `req_${String(n).padStart(26, '0')}`;
const FIRST_REQUEST = createNumberedRequestId(0);

/** What a route is called with, where its path says not enough. */
const CALLS: Readonly<Record<string, { url?: string; body?: unknown; headers?: Record<string, string> }>> = {
  'POST /messages': { body: { ...stored, ...question, max_tokens: 5, conversation: 'c1' } },
  'POST /v1/messages': { body: { ...stored, ...question, max_tokens: 5 } },
  'POST /count-tokens': { body: { ...stored, ...question } },
  'POST /v1/messages/count_tokens': { body: { ...stored, ...question } },
  'POST /conversations': { body: { model: 'claude-haiku-5-5' } },
  'POST /conversations/:id/fork': { body: {} },
  'POST /conversations/:id/rewind': { body: { before: LAST_MESSAGE } },
  'PUT /accounts/:id/block': { body: { reason: 'Scraping', message: 'This account is blocked.' } },
  'PATCH /conversations/:id': { body: { title: 'Greeting' } },
  'PUT /agents/:name': { body: { ...stored, max_tokens: 10 } },
  'PUT /prefixes/:name': { body: stored },
  'PUT /classifiers/:name': { body: labels },
  'POST /classify': { body: { ...labels, input: 'One.' } },
  'PUT /accounts/:id/limits': { body: { usd_per_day: 50 } },
  'PATCH /accounts/:id/limits': { body: { usd_per_day: 60 } },
  'POST /accounts/:id/credit': { body: { usd: 1 } },
  'PUT /groups/:id/limits': { body: { usd_per_day: 50 } },
  'PATCH /groups/:id/limits': { body: { usd_per_day: 60 } },
  'PUT /pools/deployment/limits': { body: { usd_per_day: 5000 } },
  'PATCH /pools/deployment/limits': { body: { usd_per_day: 6000 } },
  'POST /tokens': { body: { account: ACCOUNT, scopes: ['messages'] } },
  'GET /conversations/:id/turns/:turn': { url: '/conversations/c1/turns/turn_0' },
  'GET /usage/requests/:request_id': { url: `/usage/requests/${FIRST_REQUEST}?account=${ACCOUNT}` },
  'GET /usage': { url: '/usage?group_by=model' },
  'GET /versions/:kind': { url: '/versions/agent' },
  'GET /agents/:name/versions': { url: '/agents/many/versions' },
  'GET /prefixes/:name/versions': { url: '/prefixes/many/versions' },
};

/** Calls of routes in other ways than `CALLS`. */
const RARE_CALLS: Readonly<Record<string, string>> = {
  'a turn of long ago': '/conversations/c1/turns/turn_x',
  'a request by the id of the upstream': '/usage/requests/x?account=alice',
  'a page amid the conversations': '/conversations?after_id=c1-60',
};

/** @returns the URL of a route for what `fill` has stored */
function toUrl(method: string, path: string): string {
  return (
    CALLS[`${method} ${path}`]?.url ??
    path
      .replace('/accounts/:id', `/accounts/${ACCOUNT}`)
      .replace('/conversations/:id', '/conversations/c1')
      .replace('/groups/:id', '/groups/group-1')
      .replace('/webhooks/:source', '/webhooks/github')
      .replace('/events/:id', '/events/github_1')
      .replace('/models/:id', '/models/claude-haiku-5-5')
      .replace(/:\w+/g, 'x')
  );
}

/** The routes that end what others need, in this order. */
const LAST_ROUTES = [
  'PUT /accounts/:id/block',
  'DELETE /accounts/:id/block',
  'DELETE /accounts/:id/tokens/:jti',
  'DELETE /accounts/:id/tokens',
  'DELETE /accounts/:id',
  'PUT /accounts/:id/erasure',
];

/** Reads come first, then writes, then deletions. */
function getOrder({ method, path }: { method: string; path: string }): number {
  const last = LAST_ROUTES.indexOf(`${method} ${path}`);
  return last >= 0 ? 3 + last : ({ GET: 0, DELETE: 2 }[method] ?? 1);
}

/**
 * Measures how many rows each route, each alarm and a webhook event read and write.
 *
 * @param count how many objects of each kind are stored
 */
export async function measureRows(count: number): Promise<Map<string, MeasuredRows>> {
  disableAutomaticAlarms();
  installSimulator();
  const edge = createSimulatedEdge({ DEPLOYMENT_LIMITS: '{}', GITHUB_WEBHOOK_SECRET: 'a-secret-of-the-tests-only' });
  const scopes = ['admin', 'messages', 'classify', 'prefixes'] as const;
  const own = bearerHeader(await createToken(ACCOUNT, scopes));
  const ofAdmin = bearerHeader(await createToken('admin', scopes));
  const call = async (method: string, url: string, body?: unknown) => {
    const response = await edge.fetch(url, {
      method,
      headers: { ...(url.startsWith('/accounts/') ? ofAdmin : own), 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    await response.text();
    await edge.waitUntilSettled();
    return response.status;
  };
  await fill(call, count);
  const { counts, stop } = await startCounting();
  onTestFinished(stop);
  const measured = new Map<string, MeasuredRows>();
  const measure = async (name: string, work: () => Promise<unknown>) => {
    counts.clear();
    await work();
    measured.set(name, sumRows(counts));
  };
  for (const [name, url] of Object.entries(RARE_CALLS)) await measure(name, () => call('GET', url));
  await measure('a turn after a wake', async () => {
    await abortAllDurableObjects();
    return await call('POST', '/messages', CALLS['POST /messages']?.body);
  });
  await measure('a finished webhook event', async () => {
    const inbox = getInbox('github');
    await inbox.acceptEvent(createEvent('github_new'));
    const work = await inbox.leaseEvent('github_new', MINUTE_MS);
    if (work.kind === 'none') throw new Error('The new event is not to be worked on.');
    const attempt = { at: new Date().toISOString(), ms: 1, error: null };
    await inbox.recordResult('github_new', CLASSIFICATION, { lease: work.lease, attempt });
  });
  for (const [name, getStub] of Object.entries(OBJECTS)) {
    await measure(`the alarm: ${name}`, () => runDurableObjectAlarm(getStub()));
  }
  for (const { method, path } of ROUTES.toSorted((one, other) => getOrder(one) - getOrder(other))) {
    const route = `${method} ${path}`;
    await measure(route, () => call(method, toUrl(method, path), CALLS[route]?.body));
  }
  stop();
  return measured;
}

/** @returns the rows of all statements, and the statement with most of them */
function sumRows(counts: ReadonlyMap<string, RowCount>): MeasuredRows {
  const sum = { read: 0, written: 0, statement: '' };
  let most = 0;
  for (const [statement, { read, written }] of counts) {
    sum.read += read;
    sum.written += written;
    if (read + written <= most) continue;
    most = read + written;
    sum.statement = `${read} / ${written} by ${statement.replaceAll(/\s+/g, ' ')}`;
  }
  return sum;
}

const CLASSIFICATION = {
  label: 'bug',
  fields: null,
  cached: false,
  model: 'claude-haiku-5-5',
  classifier: null,
  usage: { input_tokens: 1, output_tokens: 1, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 },
  cost_usd: 0.000001,
  classified_at: '2026-11-20T12:00:00.000Z',
};

async function fill(call: (method: string, url: string, body?: unknown) => Promise<number>, count: number) {
  const expectSuccess = async (method: string, url: string, body: unknown) => {
    const status = await call(method, url, body);
    if (status >= 300) throw new Error(`${method} ${url} has failed with ${status}.`);
  };
  await expectSuccess('POST', '/conversations', { id: 'c1', model: 'claude-haiku-5-5' });
  await expectSuccess('POST', '/v1/messages', {
    ...question,
    model: 'claude-haiku-5-5',
    max_tokens: 5,
    conversation: 'c1',
  });
  await expectSuccess('POST', '/accounts/alice/credit', { usd: 100 });
  await expectSuccess('POST', '/tokens', { account: ACCOUNT, scopes: ['messages'] });
  for (const [kind, body] of Object.entries({
    agents: { ...stored, max_tokens: 10 },
    prefixes: stored,
    classifiers: labels,
  }))
    for (const name of ['x', 'many']) await expectSuccess('PUT', `/${kind}/${name}`, body);
  for (let n = 0; n < Math.min(count, MAX_LISTED_NAMES); n += 1) {
    await accountList.addName(bindings.STORE, `account-${n}`);
    await groupList.addName(bindings.STORE, `group-${n}`);
  }
  const now = Date.now();
  await runInDurableObject(getObject('account'), (account: unknown) => {
    for (let n = 0; n < count; n += 1) {
      settleInside(account as Account, {
        requestId: createNumberedRequestId(n),
        status: 'complete',
        cost: 1_000,
        startedAt: now - 9 * HOUR_MS + n,
        tokens: { input: 1, output: 1 },
        admittedFields: { route: 'messages', model: 'claude-haiku-5-5', conversation: `c${n % 100}` },
      });
    }
  });
  await runInDurableObject(getObject('pool'), (pool: unknown) => {
    for (let n = 0; n < count; n += 1) (pool as Pool).leaseJson(JSON.stringify(told(`account-${n}`, 1, 100, now)));
  });
  await eventually(async () => void (await getInbox('github').acceptEvent(createEvent('github_1'))));
  const { lease } = (await getInbox('github').leaseEvent('github_1', MINUTE_MS)) as { lease: number };
  const attempt = { at: new Date().toISOString(), ms: 1, error: null };
  await getInbox('github').recordResult('github_1', CLASSIFICATION, { lease, attempt });
  await getInbox(ALERT_SOURCE).acceptEvent(createEvent(`${ALERT_SOURCE}_1`, '{}', ACCOUNT));
  await copyRows('account', ['conversations', 'tokens', 'credits'], count, { tokens: 'minted_at is not null' });
  for (const object of ['account', 'the account of the deployment'] as const) await copyVersions(object, count);
  await copyRows('the account of the deployment', ['changes'], count);
  await copyRows('inbox', ['events'], count);
  await copyRows('the inbox of alerts', ['events'], count);
  await copyTurns(count);
  // Up to a thousand rows of the ledger wait for a fold, whatever is stored.
  await runInDurableObject(getObject('account'), (account: unknown) =>
    (account as { state: AccountState }).state.ledger.foldRowsSettledBefore(Number.MAX_SAFE_INTEGER),
  );
}

/** Copies a name of each kind, and the versions of another. */
async function copyVersions(object: keyof typeof OBJECTS, count: number): Promise<void> {
  await runInDurableObject(getObject(object), (_, { storage }) => {
    const exec = storage.sql.exec.bind(storage.sql) as SqlStorage['exec'];
    const kinds = exec<{ kind: string }>('select distinct kind from names').toArray();
    const numbers = `with recursive numbers (i) as (select 1 union all select i + 1 from numbers where i < ${count})`;
    for (const { kind } of kinds) {
      exec(
        `insert into versions ${numbers} select kind, name, hash || i, at - i, bytes, description, state
         from versions, numbers where kind = ? and name = 'many'`,
        kind,
      );
      const most = Math.min(count, MAX_LISTED_NAMES - 10);
      exec(
        `insert into versions ${numbers} select kind, name || '-' || i, hash, at, bytes, description, state
         from versions, numbers where kind = ? and name = 'x' and i <= ?`,
        kind,
        most,
      );
      exec(
        `insert into names ${numbers} select kind, name || '-' || i, hash, at, told, pinned, withdrawn
         from names, numbers where kind = ? and name = 'x' and i <= ?`,
        kind,
        most,
      );
    }
  });
}

/** Copies the only turn of the conversation. */
async function copyTurns(count: number): Promise<void> {
  await runInDurableObject(getObject('conversation'), (_, { storage }) => {
    const { sql } = storage;
    storage.transactionSync(() => {
      sql.exec('update turns set settled = 1');
      const columns = [...sql.exec("select name from pragma_table_info('turns')")].map(({ name }) => String(name));
      const rest = columns.filter((name) => !['seq', 'id', 'key'].includes(name)).join(', ');
      const numbers = `with recursive numbers (i) as (select 1 union all select i + 1 from numbers where i < ${count})`;
      sql.exec(
        `insert into turns (seq, id, ${rest}) ${numbers} select seq + i, 'turn_' || (${count} - i), ${rest} from (select * from turns limit 1), numbers`,
      );
      sql.exec(
        `insert into messages (seq, turn, id, role, created_at, characters, text) ${numbers}
         select seq + 2 * i, turn + i, role || '_' || (${count} - i), role, created_at, characters, text
         from (select * from messages order by seq limit 2), numbers`,
      );
      changeProfile(sql, (profile) =>
        Object.assign(profile, {
          turns: 1 + count,
          messages: 2 + 2 * count,
          nextMessage: 3 + 2 * count,
          answerIds: { from: 3 + 2 * count, marks: '' },
        }),
      );
    });
  });
}

/** Counts the rows of all objects of this isolate from now on, by statement. */
async function startCounting() {
  const counts = new Map<string, RowCount>();
  const add = (statement: string, { read, written }: RowCount) => {
    const count = getOrCreate(counts, statement, () => ({ read: 0, written: 0 }));
    count.read += read;
    count.written += written;
  };
  const stop = await runInDurableObject(getObject('account'), (_, { storage }) => noteRowCounts(storage.sql, add));
  return { counts, stop };
}
