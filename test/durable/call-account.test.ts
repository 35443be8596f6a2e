import { env } from 'cloudflare:workers';
import { afterEach, expect, test, vi } from 'vitest';
import { Account } from '../../src/accounts/account.ts';
import { askForAdmission } from '../../src/accounts/admission/ask-account.ts';
import { pause } from '../../src/async/pause.ts';
import type { Bindings } from '../../src/durable/bindings.ts';
import { type AccountRequest, callAccount, settleNow, settleSoon } from '../../src/durable/call-account.ts';
import type { Settled, Settlement } from '../../src/durable/contracts/settlement.ts';
import { settingsOf } from '../../src/settings/settings.ts';
import { worstCaseWith } from '../accounts/admission-requests.ts';
import { atNoon } from '../support/calendar.ts';
import { eventually } from '../support/eventually.ts';
import { resetAll } from '../support/reset.ts';

const bindings = env as unknown as Bindings;
const settings = settingsOf({ MODE: 'development' });
let requests = 0;

atNoon();

afterEach(async () => {
  vi.restoreAllMocks();
  await pause(40);
  await resetAll();
});

/** An isolate that calls the account of Alice: what waits in it waits in no other one. */
function isolate() {
  const { ACCOUNT } = bindings;
  const calls: string[] = [];
  const namespace = {
    idFromName: (name: string) => ACCOUNT.idFromName(name),
    get: (id: DurableObjectId) =>
      new Proxy(ACCOUNT.get(id), {
        get: (stub, name) => {
          const method: unknown = Reflect.get(stub, name);
          if (typeof method !== 'function') return method;
          return (...args: unknown[]) => {
            calls.push(String(name));
            return Reflect.apply(method, stub, args) as unknown;
          };
        },
      }),
  };
  const accounts = { ACCOUNT: namespace as unknown as Bindings['ACCOUNT'] };
  const request = (): AccountRequest => ({ identity: { account: 'alice' }, accounts, settings });
  const standing = () => callAccount(request(), (account) => account.standing());
  const admit = async (limits = {}) => {
    requests += 1;
    const requestId = `req_${String(requests).padStart(9, '0')}`;
    const asked = { requestId, route: 'messages', model: 'claude-opus-5-5', bound: worstCaseWith(), defaults: limits };
    return { requestId, decision: await askForAdmission(request(), asked) };
  };
  return { calls, request, standing, admit };
}

const endOf = (requestId: string, cost = 700): string =>
  JSON.stringify({ requestId, status: 'complete', cost, startedAt: Date.now() } satisfies Settlement);

test('a settlement goes with the next admission of its isolate, and costs no call of its own', async () => {
  const { calls, request, admit, standing } = isolate();
  const { requestId } = await admit();
  const settled = settleSoon(request(), endOf(requestId));
  const next = await admit({ concurrent_requests: 1 });
  expect(next.decision.outcome).toBe('admitted');
  expect(await settled).toEqual({ outcome: 'settled', cost: 700, overHold: false });
  expect(calls).toEqual(['admitJson', 'admitJson']);
  expect(await standing()).toMatchObject({ running_requests: 1, day: { settled_usd: 7e-7 } });
});

test('whatever is read next in its isolate knows of it', async () => {
  const { request, admit, standing } = isolate();
  let cost = 0;
  for (let turn = 0; turn < 50; turn += 1) {
    const { requestId } = await admit();
    const settled = settleSoon(request(), endOf(requestId, turn));
    cost += turn;
    const { running_requests, day } = await standing();
    expect({ running_requests, settled: Math.round(day.settled_usd * 1e9) }).toEqual({
      running_requests: 0,
      settled: cost,
    });
    expect((await settled).outcome).toBe('settled');
  }
});

test('where nobody calls it goes by itself, with all that wait', async () => {
  const { calls, request, admit } = isolate();
  const ids: string[] = [];
  for (let turn = 0; turn < 5; turn += 1) ids.push((await admit()).requestId);
  const settled = await Promise.all(ids.map((id) => settleSoon(request(), endOf(id))));
  expect(settled.map(({ outcome }) => outcome)).toEqual(Array(5).fill('settled'));
  expect(calls.filter((name) => name === 'settleJson')).toHaveLength(1);
});

test('what has waited longest does not wait for more than there is room for', async () => {
  const { calls, request, admit } = isolate();
  const ids: string[] = [];
  for (let turn = 0; turn < 33; turn += 1) ids.push((await admit()).requestId);
  const waiting = ids.slice(1).map((id) => settleSoon(request(), endOf(id)));
  const began = calls.length;
  const last = settleSoon(request(), endOf(ids[0] ?? ''));
  // It goes in the same step, and takes the others along.
  expect(calls.slice(began)).toEqual(['settleJson']);
  for (const settled of await Promise.all([last, ...waiting])) expect(settled.outcome).toBe('settled');
  expect(calls.slice(began)).toEqual(['settleJson']);
});

test.each(['before it arrives', 'with its answer'])(
  'a call that is lost %s loses none that went along',
  async (when) => {
    const { request, admit, standing } = isolate();
    const ids = [(await admit()).requestId, (await admit()).requestId];
    const settled = ids.map((id) => settleSoon(request(), endOf(id)));
    const { admitJson } = Account.prototype;
    vi.spyOn(Account.prototype, 'admitJson').mockImplementationOnce(function (this: Account, ...told) {
      if (when === 'with its answer') void admitJson.apply(this, told);
      throw new Error('lost');
    });
    await expect(admit()).rejects.toThrow('could not be reached');
    const outcome = when === 'with its answer' ? 'duplicate' : 'settled';
    for (const each of await Promise.all(settled)) expect(each).toEqual({ outcome, cost: 700, overHold: false });
    expect((await standing()).day.settled_usd).toBe(14e-7);
  },
);

test('one that its account cannot take does not fail those beside it, and is heard by whoever it belongs to', async () => {
  const { request, admit, standing } = isolate();
  const ids = [(await admit()).requestId, (await admit()).requestId];
  const { settle } = Account.prototype;
  vi.spyOn(Account.prototype, 'settle').mockImplementation(function (this: Account, settlement): Settled {
    if (settlement.requestId === ids[0]) throw new Error('it cannot be stored');
    return settle.call(this, settlement);
  });
  const settled = ids.map((id) => settleSoon(request(), endOf(id)));
  const failed = expect(settled[0]).rejects.toThrow('could not be reached');
  expect((await admit()).decision.outcome).toBe('admitted');
  expect((await settled[1])?.outcome).toBe('settled');
  await failed;
  expect((await standing()).running_requests).toBe(2);
});

test('an object of an earlier version, which takes none along, is told of each by itself', async () => {
  const { request, admit, standing } = isolate();
  const ids = [(await admit()).requestId, (await admit()).requestId];
  const { admitJson, settleJson } = Account.prototype;
  vi.spyOn(Account.prototype, 'admitJson').mockImplementation(function (this: Account, asked) {
    return admitJson.call(this, asked);
  });
  vi.spyOn(Account.prototype, 'settleJson').mockImplementation(function (this: Account, settlement) {
    return settleJson.call(this, settlement);
  });
  const settled = ids.map((id) => settleSoon(request(), endOf(id)));
  await admit();
  for (const { outcome } of await Promise.all(settled)) expect(outcome).toBe('settled');
  expect((await standing()).running_requests).toBe(1);
});

test('one that must not wait takes along what does', async () => {
  const { calls, request, admit } = isolate();
  const ids = [(await admit()).requestId, (await admit()).requestId] as const;
  const waiting = settleSoon(request(), endOf(ids[0]));
  expect((await settleNow(request(), endOf(ids[1]))).outcome).toBe('settled');
  expect((await waiting).outcome).toBe('settled');
  expect(calls).toEqual(['admitJson', 'admitJson', 'settleJson']);
});

test('only where there is room for many more may a settlement wait: elsewhere its hold keeps others out', async () => {
  const { admit, request } = isolate();
  const roomy = async (limits: object) => {
    const { decision, requestId } = await admit(limits);
    if (decision.outcome !== 'admitted') throw new Error(JSON.stringify(decision));
    await settleNow(request(), endOf(requestId, 0));
    return decision.roomy === true;
  };
  // One costs 11,000 nanodollars at the most, of 100 input and 1,000 output tokens.
  expect(await roomy({})).toBe(true);
  expect(await roomy({ usd_per_day: 0.000_187 })).toBe(true);
  expect(await roomy({ usd_per_day: 0.000_186_999 })).toBe(false);
  expect(await roomy({ concurrent_requests: 17 })).toBe(true);
  expect(await roomy({ concurrent_requests: 16 })).toBe(false);
  expect(await roomy({ input_tokens_per_minute: 1_700 })).toBe(true);
  expect(await roomy({ input_tokens_per_minute: 1_699 })).toBe(false);
  expect(await roomy({ output_tokens_per_minute: 17_000 })).toBe(true);
  expect(await roomy({ output_tokens_per_minute: 16_999 })).toBe(false);
});

test('a request that was killed leaves its settlement to the next call, however late that comes', async () => {
  const { request, admit, standing } = isolate();
  const { requestId } = await admit();
  // Its timer never runs out: what it has left is all that there is of it.
  vi.spyOn(globalThis, 'setTimeout').mockImplementationOnce((() => 0) as unknown as typeof setTimeout);
  void settleSoon(request(), endOf(requestId));
  await pause(60);
  expect((await standing()).running_requests).toBe(0);
  await eventually(async () => expect((await standing()).day.settled_usd).toBe(7e-7));
});
