/** What an account remembers as stored is stored: each part that has such a memory writes again after a failed write. */
import { expect, test } from 'vitest';
import type { TurnRow } from '#edge/conversations/history/storage/rows.ts';
import type { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import { TurnGrantStore } from '#edge/conversations/turn/turn-grants.ts';
import type { DurableObjectAlarm } from '#edge/durable/alarm.ts';
import type { SqlTables } from '#edge/durable/tables.ts';
import { EffectiveAccountLimits } from '#edge/money/account/effective-limits.ts';
import { VisitorSession } from '#edge/money/account/visitor-session.ts';
import { UNKNOWN_GRANT } from '#edge/money/admission/price-outcome.ts';
import { LeaseIdentity } from '#edge/plugins/pools/leases/lease-identity.ts';

/** Tables of which only `meta` has rows. @param failures how many writes fail, from the next one on */
function metaTables(stored: Record<string, string> = {}) {
  const meta = new Map(Object.entries(stored));
  const held = { meta, failures: 0, writes: 0 };
  const tables = {
    areTablesMissing: false,
    readMetaValue: (key: string) => meta.get(key),
    writeMetaValue: (key: string, value: string | undefined) => {
      held.writes += 1;
      if (held.failures > 0) {
        held.failures -= 1;
        throw new Error('the write failed');
      }
      if (value === undefined) meta.delete(key);
      else meta.set(key, value);
    },
  };
  return { held, tables: tables as unknown as SqlTables };
}

test("stores the deployment's limits after a failed write", () => {
  const { held, tables } = metaTables();
  const limits = new EffectiveAccountLimits(tables);
  held.failures = 1;
  expect(() => limits.updateDefaultLimits({ usd_per_day: 1 })).toThrow('failed');
  limits.storeDefaultLimits();
  expect(held.meta.get('defaults')).toBe('{"usd_per_day":1}');
});

test("stores the end of a visitor's session after a failed write, and arms the alarm before the write", () => {
  const { held, tables } = metaTables();
  const armed: number[] = [];
  const alarm = { scheduleAt: (time: number) => void armed.push(time) } as unknown as DurableObjectAlarm;
  const visit = new VisitorSession(tables, { account: `visitor:${'a'.repeat(32)}`, alarm });
  expect(visit.isVisitor).toBe(true);
  held.failures = 1;
  expect(() => visit.recordCredential({ exp: 100, jti: 'j', iat: 1 })).toThrow('failed');
  expect(armed).toEqual([100_000]);
  visit.storeSessionEndOnFirstRow(0);
  expect(held.meta.get('visit_until')).toBe('100000');
});

test('stores after a failed write that an erased account is used again', () => {
  const { held, tables } = metaTables({ erased_at: '5' });
  const identity = new LeaseIdentity(tables);
  held.failures = 1;
  expect(() => identity.restoreAccountName()).toThrow('failed');
  expect(identity.hasAccountName).toBe(false);
  identity.restoreAccountName();
  expect(held.meta.get('used_since_erasure')).toBe('1');
});

test('stores the raised incarnation of a lease after a failed write', () => {
  const { held, tables } = metaTables({
    lease: '{"id":"a","incarnation":3,"pools":["deployment"],"base":{},"joining":[]}',
  });
  const identity = new LeaseIdentity(tables);
  held.failures = 1;
  expect(() => identity.raiseIncarnationForPool('deployment')).toThrow('failed');
  expect(identity.raiseIncarnationForPool('deployment').incarnation).toBe(4);
  expect(held.meta.get('lease')).toContain('"incarnation":4');
});

test('stores the grant of a turn after a failed write', () => {
  const stored: object[] = [];
  let failures = 1;
  const transcript = {
    updateTurn: (_: unknown, change: object) => {
      if (failures-- > 0) throw new Error('the write failed');
      stored.push(change);
    },
  } as unknown as Transcript;
  const grants = new TurnGrantStore(transcript, { requestId: 'req_1', grant: null, beganAt: 0 } as TurnRow);
  grants.recordAdmittedGrant({ requestId: 'req_1', grant: UNKNOWN_GRANT, admission: undefined }, undefined, 0);
  expect(() => grants.storeSentGrant()).toThrow('failed');
  grants.storeSentGrant();
  expect(stored).toMatchObject([{ sentAt: 0 }]);
});
