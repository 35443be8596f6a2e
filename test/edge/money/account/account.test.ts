import { abortAllDurableObjects, runDurableObjectAlarm } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import fc from 'fast-check';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import type { MaximumCost } from '#edge/claude/pricing/hold-terms.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Account } from '#edge/money/account/account.ts';
import {
  ledgerRequestSchema,
  quotaReportSchema,
  tokenRowSchema,
  usageReportSchema,
} from '#edge/money/account/usage-answers.schema.ts';
import type { Limits } from '#edge/money/budget/limits.schema.ts';
import type { AdmissionDecision, AdmissionRequest } from '#edge/money/contracts/admission.ts';
import type { Settlement } from '#edge/money/contracts/settlement.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { resetAll } from '#test/support/reset.ts';
import { admitAt, admitInside, NOON, settleAt, settleInside, worstCaseWith } from './admission-requests.ts';
import { runInAccount } from './run-in-account.ts';

const bindings = env as unknown as { ACCOUNT: DurableObjectNamespace<Account> };
const MINUTE = 60_000;
const DAY = 86_400_000;

let clock = NOON;
let retentionDays = 30;
let ids = 0;

beforeEach(() => {
  // The alarm's time is real: a clock that is ahead keeps it from coming by itself.
  const later = new Date(Date.now() + 100 * DAY);
  // Not at the end of a month, whose sums begin anew then.
  clock = Math.max(NOON, Date.UTC(later.getUTCFullYear(), later.getUTCMonth(), 10));
  // An object that is made anew has the same clock.
  vi.spyOn(Date, 'now').mockImplementation(() => clock);
  retentionDays = 30;
});
const stub = (name = 'alice') => getAccountStub(bindings, {}, name);

/** Runs in the object, by the test's clock. */
async function inAccount<T>(run: (account: Account, state: DurableObjectState) => T | Promise<T>): Promise<T> {
  return await runInAccount(stub(), { now: () => clock, retentionDays }, run);
}

async function wake(): Promise<void> {
  await inAccount(() => undefined);
  await runDurableObjectAlarm(stub());
}

const nextId = () => `req_${String(++ids).padStart(12, '0')}`;
const usd = (nanodollars: number) => nanodollars / 1e9;

function askOf(more: Partial<AdmissionRequest> & { id?: string; size?: Partial<MaximumCost> } = {}): AdmissionRequest {
  const { id = nextId(), size, ...rest } = more;
  return {
    requestId: id,
    route: 'messages',
    model: 'claude-opus-5-5',
    maximumCost: worstCaseWith(size),
    defaults: {},
    ...rest,
  };
}

const ended = (requestId: string, more: Partial<Settlement> = {}): Settlement => ({
  requestId,
  status: 'complete',
  cost: 500,
  tokens: { input: 40, output: 46 },
  ...more,
});

function limited(limits: Limits) {
  return (more: Parameters<typeof askOf>[0] = {}) => askOf({ defaults: limits, ...more });
}

describe('admit and settle', () => {
  test('replaces a hold with the actual cost of the request', async () => {
    const ask = limited({ usd_per_day: usd(22_000) })();
    expect(await admitAt(stub(), ask)).toMatchObject({
      outcome: 'admitted',
      hold: 11_000,
      unlisted: true,
      quota: { day: { limit: 22_000, settled: 0, held: 11_000 } },
    });
    expect(await stub().findRequest(ask.requestId)).toMatchObject({
      status: 'held',
      hold_usd: usd(11_000),
      cost_usd: 0,
    });
    expect(await settleAt(stub(), ended(ask.requestId, { stopReason: 'end_turn', ms: 12.5 }))).toEqual({
      outcome: 'settled',
      cost: 500,
      overHold: false,
    });
    const standing = await stub().getQuotaReport();
    expect(standing.day).toMatchObject({ settled_usd: usd(500), held_usd: 0, limit_usd: usd(22_000) });
    expect(quotaReportSchema.parse(standing)).toEqual(standing);
    const row = await stub().findRequest(ask.requestId);
    expect(row).toMatchObject({ status: 'complete', stop_reason: 'end_turn', ms: 12.5, estimated: false });
    expect(ledgerRequestSchema.parse(row)).toEqual(row);
  });

  test('shows a request with all of its own tries', async () => {
    const ask = limited({ requests_per_minute: 1 });
    const first = nextId();
    const tries = [first, `${first}.2`, `${first}.3`];
    for (const [n, id] of tries.entries()) {
      expect(await admitAt(stub(), ask({ id, repeats: n > 0 }))).toMatchObject({ outcome: 'admitted' });
      await settleAt(stub(), ended(id, n < 2 ? { status: 'retried' } : {}));
    }
    await settleAt(stub(), ended(`${first}0`, { admittedFields: { route: 'messages', model: 'claude-haiku-5-5' } }));
    const row = await stub().findRequest(first);
    expect(row).toMatchObject({ request_id: first, status: 'retried' });
    expect(row?.tries.map(({ request_id, status }) => [request_id, status])).toEqual([
      [first, 'retried'],
      [`${first}.2`, 'retried'],
      [`${first}.3`, 'complete'],
    ]);
    const second = await stub().findRequest(`${first}.2`);
    expect(second?.tries.map(({ request_id }) => request_id)).toEqual([`${first}.2`, first, `${first}.3`]);
  });

  test('settles a request once, also after a crash', async () => {
    const ask = askOf();
    await admitAt(stub(), ask);
    await settleAt(stub(), ended(ask.requestId));
    expect(await settleAt(stub(), ended(ask.requestId, { cost: 900 }))).toMatchObject({
      outcome: 'duplicate',
      cost: 500,
    });
    await abortAllDurableObjects();
    expect(await settleAt(stub(), ended(ask.requestId))).toMatchObject({ outcome: 'duplicate' });
    expect((await stub().getQuotaReport()).day.settled_usd).toBe(usd(500));
  });

  test('returns the same hold for a repeated request ID, and rejects a settled ID', async () => {
    const ask = limited({ concurrent_requests: 1 })();
    await admitAt(stub(), ask);
    expect(await admitAt(stub(), ask)).toMatchObject({ outcome: 'admitted', hold: 11_000 });
    expect((await stub().getQuotaReport()).day.held_usd).toBe(usd(11_000));
    await settleAt(stub(), ended(ask.requestId));
    await inAccount((account) => {
      expect(() => admitInside(account, ask)).toThrow(/was already used/);
      expect(account.getQuotaReport().day.held_usd).toBe(0);
    });
  });

  test('records a settlement of a request that was never admitted once, without a hold', async () => {
    const lost = ended('req_lost', { admittedFields: { route: 'messages', model: 'claude-haiku-5-5' } });
    expect(await settleAt(stub(), lost)).toEqual({ outcome: 'unheld', cost: 500, overHold: true });
    expect(await settleAt(stub(), lost)).toMatchObject({ outcome: 'duplicate' });
    expect(await stub().findRequest('req_lost')).toMatchObject({
      model: 'claude-haiku-5-5',
      hold_usd: 0,
      over_hold: true,
    });
    expect((await stub().getQuotaReport()).day.settled_usd).toBe(usd(500));
  });

  test('rejects or corrects invalid numbers without corrupting sums', async () => {
    await inAccount((account) => {
      for (const inputCost of [Number.NaN, Number.POSITIVE_INFINITY, -1, 0.5, 1e300]) {
        expect(() => admitInside(account, askOf({ size: { inputCost } }))).toThrow(TypeError);
      }
      const ask = askOf();
      admitInside(account, ask);
      const odd = ended(ask.requestId, { cost: Number.NaN, tokens: { input: Number.NaN, output: -5 }, ms: Number.NaN });
      expect(settleInside(account, odd)).toMatchObject({ cost: 11_000 });
      expect(account.findRequest(ask.requestId)).toMatchObject({ estimated: true, ms: null });
      expect(settleInside(account, ended('req_x', { cost: -4 }))).toMatchObject({ cost: 0 });
      expect(account.getQuotaReport().day).toMatchObject({ settled_usd: usd(11_000), held_usd: 0 });
    });
  });

  test('admits a token count without a row and without a hold', async () => {
    const ask = { ...limited({ count_requests_per_minute: 1 })(), route: 'count', maximumCost: undefined };
    expect(await admitAt(stub(), ask)).toMatchObject({ outcome: 'admitted', hold: 0 });
    expect(await admitAt(stub(), ask)).toMatchObject({ outcome: 'refused', refusal: { reason: 'rate' } });
    expect((await stub().listRequests({})).data).toEqual([]);
  });

  test('returns a lowered max_tokens, and asks for a count if the request does not fit', async () => {
    const ask = limited({ usd_per_day: usd(7_120) });
    expect(await admitAt(stub(), ask({ size: { countable: true } }))).toEqual({ outcome: 'count_needed' });
    // Half of what is free pays for as much as it needs at the least; so does the rest.
    expect(await admitAt(stub(), ask())).toMatchObject({ outcome: 'admitted', maxTokens: 256 });
    expect(await admitAt(stub(), ask())).toMatchObject({ outcome: 'admitted', maxTokens: 256 });
    const refusal = { reason: 'held', limit: 'usd_per_day' };
    expect(await admitAt(stub(), ask())).toMatchObject({ outcome: 'refused', refusal });
  });

  test('counts a token count towards count_requests_per_minute even if its request is then rejected', async () => {
    const ask = limited({ usd_per_day: usd(3_600), count_requests_per_minute: 1 });
    expect(await admitAt(stub(), ask({ size: { countable: true } }))).toEqual({ outcome: 'count_needed' });
    const counted = ask({ size: { inputCost: 2_000 }, counted: true });
    expect(await admitAt(stub(), counted)).toMatchObject({ outcome: 'refused', refusal: { reason: 'spend' } });
    expect(await admitAt(stub(), ask({ size: { countable: true } }))).toMatchObject({
      outcome: 'refused',
      refusal: { limit: 'count_requests_per_minute' },
    });
  });

  test('admits exactly as many of 1,000 concurrent requests as the budget covers', async () => {
    const ask = limited({ usd_per_day: usd(11_000 * 137 + 10_999), on_shortfall: 'refuse' });
    const answers = await Promise.all(Array.from({ length: 1_000 }, () => admitAt(stub(), ask())));
    expect(answers.filter(({ outcome }) => outcome === 'admitted')).toHaveLength(137);
    expect((await stub().getQuotaReport()).day.held_usd).toBe(usd(11_000 * 137));
    await abortAllDurableObjects();
    expect(await admitAt(stub(), ask())).toMatchObject({ outcome: 'refused' });
    expect((await stub().getQuotaReport()).running_requests).toBe(137);
  });
});

describe('limits', () => {
  test('of the account take precedence over the deployment’s, also after a crash', async () => {
    await stub().setLimits({ usd_per_day: 2 });
    await stub().getQuotaReport({ usd_per_day: 1, concurrent_requests: 3 });
    await abortAllDurableObjects();
    const standing = await stub().getQuotaReport();
    expect(standing.limits).toEqual({ usd_per_day: 2, concurrent_requests: 3 });
    expect(standing.own_limits).toEqual({ usd_per_day: 2 });
    await stub().setLimits(null);
    expect(await stub().getQuotaReport()).toMatchObject({
      own_limits: null,
      limits: { usd_per_day: 1, concurrent_requests: 3 },
    });
  });

  test('keep the state of rate limits after a crash', async () => {
    await inAccount((account) => {
      const ask = limited({ requests_per_minute: 1, output_tokens_per_minute: 1_000 })();
      admitInside(account, ask);
      settleInside(account, ended(ask.requestId, { tokens: { output: 1_000 } }));
    });
    await abortAllDurableObjects();
    await inAccount((account) => {
      expect(account.getQuotaReport()).toMatchObject({ requests: { remaining: 0 }, output_tokens: { remaining: 0 } });
    });
  });
});

describe('orphaned holds', () => {
  test('are settled at their full amount after the deadline, with their last stage', async () => {
    const ask = askOf();
    await inAccount((account) => {
      admitInside(account, ask);
      account.renewHold(ask.requestId, 'streaming');
    });
    clock += 14 * MINUTE;
    await wake();
    expect(await stub().findRequest(ask.requestId)).toMatchObject({ status: 'held' });
    clock += 2 * MINUTE;
    await wake();
    expect(await stub().findRequest(ask.requestId)).toMatchObject({
      status: 'orphaned',
      stage: 'streaming',
      cost_usd: usd(11_000),
      estimated: true,
    });
    expect((await stub().getQuotaReport()).running_requests).toBe(0);
  });

  test('are replaced once by a late settlement', async () => {
    const ask = askOf();
    await inAccount((account) => admitInside(account, ask));
    await abortAllDurableObjects();
    clock += 16 * MINUTE;
    await wake();
    expect(await settleAt(stub(), ended(ask.requestId))).toMatchObject({ outcome: 'late', cost: 500 });
    expect(await settleAt(stub(), ended(ask.requestId))).toMatchObject({ outcome: 'duplicate' });
    expect(await stub().findRequest(ask.requestId)).toMatchObject({ status: 'complete', late: true, estimated: false });
    expect((await stub().getQuotaReport()).day.settled_usd).toBe(usd(500));
    expect((await stub().getUsageReport({ group_by: 'day' })).total.cost_usd).toBe(usd(500));
  });

  test('have a deadline that a running turn renews, with at most one row every five minutes', async () => {
    const ask = askOf();
    await inAccount((account) => admitInside(account, ask));
    for (let minute = 1; minute <= 40; minute++) {
      clock += MINUTE;
      await inAccount((account) => expect(account.renewHold(ask.requestId, 'streaming')).toBe(true));
    }
    expect(await written(() => undefined)).toBe(0);
    expect(await written((account) => account.renewHold(ask.requestId))).toBe(0);
    await abortAllDurableObjects();
    clock += 9 * MINUTE;
    await wake();
    expect((await stub().getQuotaReport()).running_requests).toBe(1);
    clock += 7 * MINUTE;
    await wake();
    expect(await stub().findRequest(ask.requestId)).toMatchObject({ status: 'orphaned', stage: 'streaming' });
    await inAccount((account) => expect(account.renewHold(ask.requestId)).toBe(false));
  });
});

/** @returns rows written by what is done, and alarms set, each a row too. */
async function written(act: (account: Account) => unknown): Promise<number> {
  return await inAccount(async (account, state) => {
    // The object's own count is of its cursors' `rowsWritten`, summed by the ledger.
    const { exec } = state.storage.sql;
    const { setAlarm } = state.storage;
    let rows = 0;
    Object.assign(state.storage.sql, {
      exec(...of: Parameters<SqlStorage['exec']>) {
        const cursor = exec.apply(state.storage.sql, of);
        rows += cursor.rowsWritten;
        return cursor;
      },
    });
    Object.assign(state.storage, {
      setAlarm(time: number) {
        rows += 1;
        return setAlarm.call(state.storage, time);
      },
    });
    try {
      await act(account);
    } finally {
      Object.assign(state.storage.sql, { exec });
      Object.assign(state.storage, { setAlarm });
    }
    return rows;
  });
}

describe('rows written', () => {
  const token = { jti: 'jti_1' };

  test('are two per request if each request ends before the next begins', async () => {
    const defaults: Limits = { usd_per_day: 9, requests_per_minute: 1e6, input_tokens_per_minute: 1e9 };
    await inAccount((account) => void admitInside(account, askOf({ token, defaults })));
    const rows = await written((account) => {
      for (let i = 0; i < 100; i++) {
        const ask = askOf({ token, defaults });
        admitInside(account, ask);
        settleInside(account, ended(ask.requestId));
      }
    });
    // The first one sets the alarm that reports them all.
    expect(rows).toBe(201);
  });

  test('are fewer than 2.01 per request for 2,000 requests and their rollups', async () => {
    await inAccount((account) => void admitInside(account, askOf({ token })));
    const rows = await written((account) => {
      for (let i = 0; i < 2_000; i++) {
        const ask = askOf({ token });
        admitInside(account, ask);
        settleInside(account, ended(ask.requestId));
      }
    });
    expect(rows / 2_000).toBeLessThan(2.01);
  });

  test('are at most four for a single request, including its alarms', async () => {
    await inAccount((account) => void admitInside(account, askOf({ token })));
    clock += 20 * MINUTE;
    await wake();
    const ask = askOf({ token });
    const rows = await written((account) => {
      admitInside(account, ask);
      settleInside(account, ended(ask.requestId));
      clock += 16 * MINUTE;
      return account.alarm();
    });
    expect(rows).toBeLessThanOrEqual(4);
  });
});

describe('rollups', () => {
  test('equal the sums of the rows after any fold', async () => {
    const open: string[] = [];
    await inAccount((account) => {
      for (let i = 0; i < 2_500; i++) {
        clock += 4 * MINUTE;
        const ask = askOf({ model: i % 3 ? 'claude-opus-5-5' : 'claude-haiku-5-5', conversation: `c${i % 2}` });
        admitInside(account, ask);
        if (i % 100 === 0) open.push(ask.requestId);
        else settleInside(account, ended(ask.requestId, { cost: i }));
      }
    });
    await abortAllDurableObjects();
    expect((await stub().getQuotaReport()).running_requests).toBe(25);
    await inAccount((account) => {
      for (const id of open.slice(5)) settleInside(account, ended(id, { cost: 1_000_000 }));
    });
    // The other five are orphans, some behind the last fold and some before it.
    clock += 20 * MINUTE;
    await wake();
    for (const id of open.slice(0, 3)) await settleAt(stub(), ended(id, { cost: 7 }));
    const before = await reports();
    await abortAllDurableObjects();
    expect(await reports()).toEqual(before);
    const [day, model, conversation] = before;
    expect(day.data.length).toBeGreaterThan(5);
    expect(day.total).toEqual(model.total);
    expect(day.total).toEqual(conversation.total);
    expect(day.total.requests).toBe(2_500);
    expect(model.data.map(({ key }) => key).sort()).toEqual(['claude-haiku-5-5', 'claude-opus-5-5']);
    expect(usageReportSchema.parse(day)).toEqual(day);
    const [from, to] = [day.data[1]?.key ?? '', day.data[2]?.key ?? ''];
    expect((await stub().getUsageReport({ group_by: 'day', from, to })).data).toEqual([day.data[1]]);
  });

  test('count an ID that sorts before the last fold exactly once', async () => {
    await inAccount((account) => {
      for (let i = 0; i < 1_100; i++) {
        const ask = askOf();
        admitInside(account, ask);
        settleInside(account, ended(ask.requestId, { cost: 1 }));
      }
      admitInside(account, askOf({ id: 'req_00' }));
      admitInside(account, askOf({ id: 'req_01' }));
    });
    await abortAllDurableObjects();
    await inAccount((account) => {
      expect(account.getQuotaReport()).toMatchObject({ running_requests: 2, day: { settled_usd: usd(1_100) } });
      settleInside(account, ended('req_00', { cost: 50 }));
    });
    await abortAllDurableObjects();
    await inAccount((account) => {
      expect(account.getQuotaReport()).toMatchObject({ running_requests: 1, day: { settled_usd: usd(1_150) } });
      expect(account.getUsageReport({ group_by: 'model' }).total).toMatchObject({
        requests: 1_101,
        cost_usd: usd(1_150),
      });
    });
  });

  async function reports() {
    const account = stub();
    return [
      await account.getUsageReport({ group_by: 'day' }),
      await account.getUsageReport({ group_by: 'model' }),
      await account.getUsageReport({ group_by: 'conversation' }),
    ] as const;
  }

  test('sum unknown models without cost under (unknown)', async () => {
    for (let i = 0; i < 3; i++) {
      const ask = askOf({ model: `made-up-${i}`, size: { isPriced: false } });
      await admitAt(stub(), ask);
      await settleAt(stub(), ended(ask.requestId, { cost: 0, status: 'refused_upstream' }));
    }
    const { data } = await stub().getUsageReport({ group_by: 'model' });
    expect(data).toMatchObject([{ key: '(unknown)', requests: 3, cost_usd: 0 }]);
  });
});

describe('retention', () => {
  test('deletes old rows and keeps their sums', async () => {
    await inAccount((account) => {
      for (let i = 0; i < 40; i++) {
        const ask = askOf();
        admitInside(account, ask);
        settleInside(account, ended(ask.requestId));
        clock += DAY;
      }
    });
    await wake();
    expect((await stub().listRequests({ limit: 100 })).data).toHaveLength(30);
    expect((await stub().getUsageReport({ group_by: 'day' })).data).toHaveLength(40);
    await inAccount(async (_, state) => expect(await state.storage.getAlarm()).not.toBeNull());
  });
});

describe('lists', () => {
  test('page by id, newest first', async () => {
    const all: string[] = [];
    for (let i = 0; i < 7; i++) {
      const ask = askOf();
      all.unshift(ask.requestId);
      await admitAt(stub(), ask);
    }
    const first = await stub().listRequests({ limit: 3 });
    expect(first).toMatchObject({ has_more: true, first_id: all[0], last_id: all[2] });
    const second = await stub().listRequests({ limit: 3, after_id: all[2] });
    expect(second.data.map((row) => row.request_id)).toEqual(all.slice(3, 6));
    const back = await stub().listRequests({ limit: 2, before_id: all[3] });
    expect(back).toMatchObject({ has_more: true, first_id: all[1], last_id: all[2] });
    expect(await stub().listRequests({ limit: 3, after_id: all[5] })).toMatchObject({ has_more: false });
  });

  test('export all rows in pieces', async () => {
    for (let i = 0; i < 5; i++) await admitAt(stub(), askOf());
    const first = await stub().exportLedgerRows('', 3);
    expect(first.rows).toHaveLength(3);
    const second = await stub().exportLedgerRows(first.next ?? '', 3);
    expect(second).toMatchObject({ next: null });
    expect(second.rows).toHaveLength(2);
  });
});

describe('credentials', () => {
  test('are listed when used, and rejected once they are revoked', async () => {
    const token = { jti: 'jti_a', iat: Math.floor(clock / 1_000), exp: Math.floor(clock / 1_000) + 60 };
    await admitAt(stub(), askOf({ token }));
    expect((await stub().listTokens()).data).toMatchObject([{ jti: 'jti_a', minted_at: null, revoked_at: null }]);
    await stub().revokeToken('jti_a');
    expect(await admitAt(stub(), askOf({ token }))).toEqual({ outcome: 'revoked' });
    expect(await stub().isTokenRevoked(token)).toBe(true);
    const [row] = (await stub().listTokens()).data;
    expect(tokenRowSchema.parse(row)).toEqual(row);
    expect(row?.revoked_at).not.toBeNull();
  });

  test('can be revoked before they are used', async () => {
    await stub().revokeToken('jti_unknown');
    await abortAllDurableObjects();
    expect(await stub().isTokenRevoked({ jti: 'jti_unknown' })).toBe(true);
  });

  test('issued until now can all be revoked, except those minted afterwards in the same second', async () => {
    await inAccount((account) => {
      const iat = Math.floor(clock / 1_000);
      account.recordMintedToken({ jti: 'old', iat, scopes: ['messages'], label: 'laptop' });
      clock += 100;
      account.revokeAllTokens();
      clock += 100;
      account.recordMintedToken({ jti: 'new', iat, scopes: ['messages', 'classify'] });
      expect(account.isTokenRevoked({ jti: 'old', iat })).toBe(true);
      expect(account.isTokenRevoked({ jti: 'elsewhere', iat })).toBe(true);
      expect(account.isTokenRevoked({ iat: iat - 5 })).toBe(true);
      expect(account.isTokenRevoked({})).toBe(true);
      expect(account.isTokenRevoked({ jti: 'new', iat })).toBe(false);
      // The clock of its issuer may be ten seconds ahead, and that of this object has parts of a second.
      expect(account.isTokenRevoked({ jti: 'ahead', iat: iat + 10 })).toBe(true);
      expect(account.isTokenRevoked({ jti: 'later', iat: iat + 11 })).toBe(false);
      expect(account.listTokens().data.find(({ jti }) => jti === 'new')?.scopes).toEqual(['messages', 'classify']);
    });
  });

  test('are deleted after they expire', async () => {
    await inAccount((account) => {
      admitInside(account, askOf({ token: { jti: 'short', exp: clock / 1_000 + 60 } }));
      account.isTokenRevoked({ jti: 'endless' });
    });
    clock += 2 * DAY;
    await wake();
    expect((await stub().listTokens()).data.map(({ jti }) => jti)).toEqual(['endless']);
  });
});

describe('erasure', () => {
  test('erases everything except revocations and sums, and waits for running requests', async () => {
    const running = askOf({ token: { jti: 'jti_a', iat: 5 } });
    await inAccount(async (account) => {
      account.setLimits({ usd_per_day: 1 });
      account.recordMintedToken({ jti: 'jti_a', scopes: ['messages'], label: 'Alice’s phone' });
      account.markInAccountList();
      for (let i = 0; i < 20; i++) {
        const ask = askOf();
        admitInside(account, ask);
        settleInside(account, ended(ask.requestId));
      }
      admitInside(account, running);
      expect(await account.erase()).toEqual({ done: false, remaining: 1 });
      const later = askOf();
      admitInside(account, later);
      settleInside(account, ended(later.requestId));
      expect(settleInside(account, ended(running.requestId))).toMatchObject({ outcome: 'erased' });
      expect(account.listRequests({}).data.map((row) => row.request_id)).toEqual([later.requestId]);
    });
    await abortAllDurableObjects();
    clock += 16 * MINUTE;
    await wake();
    await inAccount((account) => {
      // What was spent stays as a sum without names: to be erased is no new budget.
      expect(account.getQuotaReport().day).toMatchObject({ settled_usd: usd(22 * 500), held_usd: 0 });
      expect(account.getUsageReport({ group_by: 'model' }).data).toMatchObject([
        { key: '(erased)', requests: 21, cost_usd: usd(21 * 500), usage: { input_tokens: 21 * 40 } },
        { key: 'claude-opus-5-5', requests: 1, cost_usd: usd(500) },
      ]);
      expect(account.listRequests({}).data).toHaveLength(1);
      expect(account.getQuotaReport().own_limits).toBeNull();
      expect(account.isTokenRevoked({ jti: 'jti_a', iat: 5 })).toBe(true);
      expect(account.isTokenRevoked({ jti: 'jti_never_seen', iat: 5 })).toBe(true);
      expect(account.listTokens().data).toMatchObject([{ jti: 'jti_a', label: null, scopes: null }]);
      expect(settleInside(account, ended('req_000', { startedAt: clock - 17 * MINUTE }))).toMatchObject({
        outcome: 'erased',
      });
      expect(admitInside(account, askOf())).toMatchObject({ unlisted: true });
    });
  });

  test('continues in the alarm after a crash', async () => {
    await inAccount(async (account) => {
      for (let i = 0; i < 6_000; i++) {
        const ask = askOf();
        admitInside(account, ask);
        settleInside(account, ended(ask.requestId));
      }
      expect(await account.erase()).toEqual({ done: false, remaining: 1_000 });
    });
    await abortAllDurableObjects();
    clock += MINUTE;
    await wake();
    expect((await stub().listRequests({})).data).toEqual([]);
    expect((await stub().getQuotaReport()).day.settled_usd).toBe(usd(6_000 * 500));
    expect((await stub().getUsageReport({ group_by: 'model' })).data).toMatchObject([
      { key: '(erased)', requests: 6_000 },
    ]);
    // Each window keeps its own sum.
    clock += DAY;
    const { day, month } = await inAccount((account) => account.getQuotaReport());
    expect([day.settled_usd, month.settled_usd]).toEqual([0, usd(6_000 * 500)]);
  });
});

test('creates the account’s object in the configured jurisdiction', () => {
  const asked: string[] = [];
  const inside = { idFromName: (name: string) => `eu/${name}`, get: (id: string) => id };
  const outside = {
    jurisdiction(name: string) {
      asked.push(name);
      return inside;
    },
  };
  const place = { ACCOUNT: outside as unknown as DurableObjectNamespace<Account> };
  expect(getAccountStub(place, { JURISDICTION: 'eu' }, 'alice')).toBe('eu/alice');
  expect(asked).toEqual(['eu']);
});

type Step =
  | { do: 'admit'; size: Partial<MaximumCost> }
  | { do: 'settle'; which: number; share: number; twice: boolean }
  | { do: 'crash' }
  | { do: 'alarm' }
  | { do: 'wait'; ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .record({ inputCost: fc.integer({ min: 0, max: 9_000 }), outputTokens: fc.integer({ min: 0, max: 2_000 }) })
      .map((size) => ({ do: 'admit' as const, size })),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      which: fc.nat(),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
      twice: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'crash' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'alarm' as const }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('wait' as const),
      ms: fc.oneof(fc.integer({ min: -DAY, max: DAY }), fc.integer({ min: 0, max: 20 * MINUTE })),
    }),
  },
);

test('keeps settled + held ≤ limit, and settles every hold once, across crashes and alarms', async () => {
  const limits: Limits = { usd_per_day: usd(60_000), usd_per_month: usd(200_000), min_output_tokens: 50 };
  await tryAsyncCases(caseCount(60), fc.array(step, { minLength: 10, maxLength: 60, size: 'max' }), async (steps) => {
    await resetAll();
    clock = NOON + 1_000 * DAY;
    // Every row is still there at the end, to be compared.
    retentionDays = 10_000;
    const ids: string[] = [];
    const costs = new Map<string, number>();
    const settleOne = (account: Account, id: string, share: number) => {
      const hold = Math.round((account.findRequest(id)?.hold_usd ?? 0) * 1e9);
      const result = settleInside(account, ended(id, { cost: Math.floor(hold * share) }));
      if (result.outcome !== 'duplicate') costs.set(id, result.cost);
      return result.outcome;
    };
    // Once the clock has gone back, a window also has what was spent in later ones, and that may exceed its limit. Nothing is
    // admitted then.
    let hasGoneBack = false;
    for (const next of steps) {
      const admittedBefore = ids.length;
      hasGoneBack ||= next.do === 'wait' && next.ms < 0;
      if (next.do === 'wait') clock += next.ms;
      else if (next.do === 'crash') await abortAllDurableObjects();
      else if (next.do === 'alarm') await wake();
      else {
        await inAccount((account) => {
          if (next.do === 'admit') {
            const ask = askOf({ size: next.size, defaults: limits });
            const answer: AdmissionDecision = admitInside(account, ask);
            if (answer.outcome === 'admitted') ids.push(ask.requestId);
          } else {
            const id = ids[next.which % ids.length];
            if (id === undefined) return;
            const outcome = settleOne(account, id, next.share);
            if (next.twice || outcome === 'duplicate') expect(settleOne(account, id, 1)).toBe('duplicate');
          }
        });
      }
      if (hasGoneBack && ids.length === admittedBefore) continue;
      await inAccount((account) => {
        const { day, month } = account.getQuotaReport(limits);
        expect(Math.round((day.settled_usd + day.held_usd) * 1e9)).toBeLessThanOrEqual(60_000);
        expect(Math.round((month.settled_usd + month.held_usd) * 1e9)).toBeLessThanOrEqual(200_000);
      });
    }
    // Now it is later than it has ever been.
    clock += 100 * DAY;
    await inAccount((account) => account.getQuotaReport());
    await wake();
    await inAccount((account) => {
      expect(account.getQuotaReport().running_requests).toBe(0);
      let sum = 0;
      for (const id of ids) {
        const row = account.findRequest(id);
        const cost = Math.round((row?.cost_usd ?? Number.NaN) * 1e9);
        expect(cost).toBe(costs.get(id) ?? Math.round((row?.hold_usd ?? Number.NaN) * 1e9));
        expect(row?.status).toBe(costs.has(id) ? 'complete' : 'orphaned');
        sum += cost;
      }
      const report = account.getUsageReport({ group_by: 'day' });
      for (const { cost_usd } of report.data) expect(Math.round(cost_usd * 1e9)).toBeLessThanOrEqual(60_000);
      expect(report.total.requests).toBe(ids.length);
      expect(Math.round(report.total.cost_usd * 1e9)).toBe(sum);
    });
  });
});
