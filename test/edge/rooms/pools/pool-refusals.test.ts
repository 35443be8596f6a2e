import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DAY_MS, MINUTE_MS } from '../../../../src/edge/kit/async/durations.ts';
import type { Bindings } from '../../../../src/edge/kit/objects/bindings.ts';
import { accountStub } from '../../../../src/edge/kit/objects/stubs.ts';
import type { Account } from '../../../../src/edge/money/account/account.ts';
import type { ListedRequest } from '../../../../src/edge/money/account/usage-answers.schema.ts';
import type { Refusal, RefusedRequest } from '../../../../src/edge/money/contracts/admission.ts';
import type { LeaseAnswer, LeaseCall, RefusalsReport } from '../../../../src/edge/rooms/pools/contracts/pool.ts';
import type { Pool } from '../../../../src/edge/rooms/pools/pool.ts';
import type { TestApp } from '../../../support/app.ts';
import { alarmsByHand } from '../../../support/in-flight.ts';
import { resetAll } from '../../../support/reset.ts';
import { tryAsyncCases } from '../../../support/runs.ts';
import { bearer, tokenOf } from '../../../support/tokens.ts';
import { smallEdge } from '../../money/account/small-edge.ts';
import { ASK } from '../../money/account/small-request.ts';
import { told } from './lease-calls.ts';

const bindings = env as unknown as Bindings;
const pools = env as unknown as { POOL: DurableObjectNamespace<Pool> };
const pool = () => pools.POOL.get(pools.POOL.idFromName('deployment'));
const account = (name: string) => accountStub(bindings, {}, name) as unknown as DurableObjectStub<Account>;
const NOON = Date.UTC(2026, 10, 20, 12);
const EVER = { from: 0, to: Number.MAX_SAFE_INTEGER, limit: 1_000 };

async function listed(app: TestApp, query = '', scopes: 'admin' | 'messages' = 'admin') {
  const headers = bearer(await tokenOf('root', [scopes]));
  const response = await app.fetch(`/usage/requests?status=refused${query}`, { headers });
  expect(response.status, query).toBe(200);
  return ((await response.json()) as { data: ListedRequest[] }).data;
}

/** Has an account ask for a model that it may not use. @returns the id of the request */
async function refused(app: TestApp, name: string): Promise<string> {
  const response = await app.post('/messages', ASK, bearer(await tokenOf(name)));
  expect(response.status).toBe(403);
  await app.settled();
  return response.headers.get('sluice-request-id') ?? '';
}

describe('what was refused', () => {
  const limits = { DEFAULT_LIMITS: '{"models":["claude-opus-5-5"]}' };

  test('is listed of all accounts for an admin who names none, and found by account, token and time', async () => {
    alarmsByHand();
    const app = smallEdge(limits);
    const ids: string[] = [];
    for (const name of ['alice', 'bob', 'alice']) ids.unshift(await refused(app, name));
    expect(await listed(app)).toEqual([]);
    for (const name of ['alice', 'bob']) await runDurableObjectAlarm(account(name));
    const all = await listed(app);
    expect(all.map(({ request_id, account: whose }) => [request_id, whose])).toEqual([
      [ids[0], 'alice'],
      [ids[1], 'bob'],
      [ids[2], 'alice'],
    ]);
    const [row] = all;
    const refusal = {
      limited_by: 'account',
      limit: 'models',
      message: expect.stringContaining('may not use') as string,
    };
    expect(row).toMatchObject({ status: 'refused', route: 'messages', error_type: 'permission_error', refusal });
    // What an account answers of itself is the same.
    const { account: _, ...own } = row as ListedRequest;
    expect((await listed(app, '&account=alice'))[0]).toEqual(own);
    const idsOf = async (query: string) => (await listed(app, query)).map(({ request_id }) => request_id);
    expect(await idsOf(`&token=${all[1]?.token}`)).toEqual([ids[1]]);
    const at = encodeURIComponent(all[1]?.created_at ?? '');
    expect(await idsOf(`&to=${at}`)).toEqual([ids[2]]);
    expect(await idsOf(`&from=${at}`)).toEqual([ids[0], ids[1]]);
    expect(await idsOf(`&limit=1&after_id=${ids[0]}`)).toEqual([ids[1]]);
    expect(await listed(app, '', 'messages')).toEqual([]);
  });

  test('is told after a crash, and once; an erased account leaves none', async () => {
    alarmsByHand();
    const app = smallEdge(limits);
    const before = await refused(app, 'alice');
    await runDurableObjectAlarm(account('alice'));
    const after = await refused(app, 'alice');
    // What is refused within a second of the one before is stored at its end.
    await expect
      .poll(() =>
        runInDurableObject(account('alice'), (_, { storage }) =>
          storage.sql.exec<{ rows: number }>('select count(*) as rows from refusals').one(),
        ),
      )
      .toEqual({ rows: 2 });
    await abortAllDurableObjects();
    await runDurableObjectAlarm(account('alice'));
    expect((await listed(app)).map(({ request_id }) => request_id)).toEqual([after, before]);
    await app.fetch('/accounts/alice', { method: 'DELETE', headers: bearer(await tokenOf('root', ['admin'])) });
    await runDurableObjectAlarm(account('alice'));
    expect(await listed(app)).toEqual([]);
  });

  test('costs its account one report a minute, however much is refused', async () => {
    alarmsByHand();
    const app = smallEdge(limits);
    await refused(app, 'alice');
    await runDurableObjectAlarm(account('alice'));
    let clock = Date.now();
    const reports: string[] = [];
    await runInDurableObject(account('alice'), (object) => {
      const inside = object as unknown as { now: () => number; env: Record<string, unknown> };
      inside.now = () => clock;
      const stub = pool();
      const leaseJson = async (text: string) => {
        reports.push(text);
        return await stub.leaseJson(text);
      };
      inside.env = { ...inside.env, POOL: { idFromName: () => stub.id, get: () => ({ leaseJson }) } };
    });
    const rows = 5;
    for (let minute = 0; minute < 3; minute += 1) {
      clock += MINUTE_MS;
      for (let n = 0; n < rows; n += 1) await refused(app, 'alice');
      for (let n = 0; n < 2; n += 1) await runInDurableObject(account('alice'), (object) => object.alarm());
    }
    const sent = reports.map((text) => (JSON.parse(text) as LeaseCall).refused?.rows.length);
    expect(sent).toEqual([rows, rows, rows]);
  });
});

describe('the deployment’s pool', () => {
  const refusal: Refusal = {
    kind: 'refused',
    reason: 'model',
    by: 'account',
    limit: 'models',
    retryAfter: 1,
    resetsAt: NOON,
    needed: 1,
    left: 0,
    never: true,
  };
  const refusedAt = (at: number, id = `req_${at}`): RefusedRequest => ({
    id,
    at,
    route: 'messages',
    model: 'm',
    refusal,
  });

  async function inPool<T>(work: (pool: Pool) => T): Promise<T> {
    alarmsByHand();
    return await runInDurableObject(pool(), (object: Pool) => {
      Object.assign(object, { now: () => NOON });
      return work(object);
    });
  }

  const tell = (object: Pool, name: string, seq: number, report: RefusalsReport) =>
    JSON.parse(object.leaseJson(JSON.stringify({ ...told(name, seq, 0, NOON), refused: report }))) as LeaseAnswer;

  test('has each refusal once, whatever comes twice, late or never, and its answer is lost', async () => {
    const steps = fc.array(
      fc.record({ refused: fc.nat({ max: 3 }), arrives: fc.boolean(), answered: fc.boolean(), again: fc.boolean() }),
      { maxLength: 20 },
    );
    await tryAsyncCases(30, steps, async (all) => {
      await resetAll();
      const { listed: found, known } = await inPool((object) => {
        const mine: RefusedRequest[] = [];
        let seq = 0;
        let since = 0;
        let heard = 0;
        for (const step of all) {
          for (let n = 0; n < step.refused; n += 1) mine.push(refusedAt(NOON - 1_000 + mine.length));
          const until = mine.at(-1)?.at ?? 0;
          const report = { since, until, rows: mine.filter(({ at }) => at > since) };
          seq += 1;
          if (!step.arrives) continue;
          const answer = tell(object, 'alice', seq, report);
          heard = answer.refused;
          if (step.again) tell(object, 'alice', seq, report);
          if (step.answered) since = heard;
        }
        return {
          listed: object.refusals(EVER).data.map(({ id }) => id),
          known: mine.filter(({ at }) => at <= heard).map(({ id }) => id),
        };
      });
      expect(found).toEqual(known.reverse());
    });
  });

  test('ignores a report that leaves out something that it does not know', async () => {
    const answer = await inPool((object) =>
      tell(object, 'alice', 1, { since: 5, until: NOON, rows: [refusedAt(NOON)] }),
    );
    expect(answer.refused).toBe(0);
  });

  test('keeps 10,000, at most 1,000 of one account, for as long as the retention', async () => {
    const ofFlood = await inPool((object) => {
      const report = (name: string, seq: number, first: number) => {
        const rows = Array.from({ length: 200 }, (_, n) => refusedAt(first + n, `req_${name}_${first + n}`));
        tell(object, name, seq, { since: seq === 1 ? 0 : first - 1, until: first + 199, rows });
      };
      for (let seq = 0; seq < 10; seq += 1) report('flood', seq + 1, NOON - 200_000 + seq * 200 + 1);
      const ofFlood = object.refusals(EVER);
      for (let n = 0; n < 60; n += 1) {
        report(`a${n}`, 1, NOON - 100_000 + n * 1_000);
      }
      return ofFlood;
    });
    expect(ofFlood.data).toHaveLength(1_000);
    expect(ofFlood.has_more).toBe(false);
    const counted = () =>
      runInDurableObject(pool(), (_, { storage }) =>
        storage.sql.exec<{ kept: number }>('select coalesce(sum(count), 0) as kept from refusals').one(),
      );
    expect(await counted()).toEqual({ kept: 10_000 });
    await runInDurableObject(pool(), (object: Pool) => {
      Object.assign(object, { now: () => NOON + 30 * DAY_MS });
      expect(object.refusals(EVER).data).toEqual([]);
      return object.alarm();
    });
    expect(await counted()).toEqual({ kept: 0 });
  });
});
