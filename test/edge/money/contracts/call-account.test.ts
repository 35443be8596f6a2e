import { env } from 'cloudflare:workers';
import { expect, test, vi } from 'vitest';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { Account } from '#edge/money/account/account.ts';
import { requestAdmissionOfAccount } from '#edge/money/admission/request-admission.ts';
import { type AccountTarget, callAccount, sendSettlement } from '#edge/money/contracts/call-account.ts';
import type { Settlement } from '#edge/money/contracts/settlement.ts';
import { setClockToNoon } from '#test/support/calendar.ts';
import { worstCaseWith } from '../account/admission-requests.ts';

const { ACCOUNT } = env as unknown as Bindings;
const settings = parseSettingsOnce({}, true);
let requests = 0;

setClockToNoon();

const request = (): AccountTarget => ({ identity: { account: 'alice' }, accounts: { ACCOUNT }, settings });
const standing = () => callAccount(request(), (account) => account.getQuotaReport());

/** Has a request admitted. @returns its id */
async function admit(): Promise<string> {
  requests += 1;
  const requestId = `req_${String(requests).padStart(9, '0')}`;
  const asked = { requestId, route: 'messages', model: 'claude-opus-5-5', maximumCost: worstCaseWith(), defaults: {} };
  expect((await requestAdmissionOfAccount(request(), asked)).outcome).toBe('admitted');
  return requestId;
}

const endOf = (requestId: string, cost = 700): string =>
  JSON.stringify({ requestId, status: 'complete', cost, startedAt: Date.now() } satisfies Settlement);

test('sends a settlement immediately, without a timer', async () => {
  const stub = { settleJson: vi.fn((text: string) => Promise.resolve(JSON.stringify({ outcome: 'settled', text }))) };
  const place = { ...request(), stub: stub as unknown as NonNullable<AccountTarget['stub']> };
  const settled = sendSettlement(place, endOf('req_1'));
  expect(stub.settleJson).toHaveBeenCalledOnce();
  expect((await settled).outcome).toBe('settled');
});

test('books each of many concurrent settlements once', async () => {
  const ids: string[] = [];
  for (let n = 0; n < 20; n += 1) ids.push(await admit());
  const settled = await Promise.all(ids.map((id, n) => sendSettlement(request(), endOf(id, n))));
  expect(settled).toEqual(ids.map((_, cost) => ({ outcome: 'settled', cost, overHold: false })));
  const { running_requests, day } = await standing();
  expect({ running_requests, settled: Math.round(day.settled_usd * 1e9) }).toEqual({
    running_requests: 0,
    settled: 190,
  });
});

test.each([
  ['before it arrives', 'settled'],
  ['with its answer', 'duplicate'],
])('resends a settlement that is lost %s, and books it once', async (when, outcome) => {
  const requestId = await admit();
  const { settleJson } = Account.prototype;
  const settling = vi.spyOn(Account.prototype, 'settleJson').mockImplementationOnce(function (this: Account, text) {
    if (when === 'with its answer') settleJson.call(this, text);
    throw new Error('lost');
  });
  expect(await sendSettlement(request(), endOf(requestId))).toEqual({ outcome, cost: 700, overHold: false });
  expect(settling).toHaveBeenCalledTimes(2);
  expect(await standing()).toMatchObject({ running_requests: 0, day: { settled_usd: 7e-7 } });
});

test('reports a failed settlement only to its own request, and keeps its hold', async () => {
  const ids = [await admit(), await admit()] as const;
  const { settleJson } = Account.prototype;
  vi.spyOn(Account.prototype, 'settleJson').mockImplementation(function (this: Account, text) {
    if (text.includes(ids[0])) throw new Error('it cannot be stored');
    return settleJson.call(this, text);
  });
  const [failed, settled] = await Promise.allSettled(ids.map((id) => sendSettlement(request(), endOf(id))));
  expect(failed).toMatchObject({ status: 'rejected', reason: { status: 503 } });
  expect(settled).toMatchObject({ status: 'fulfilled', value: { outcome: 'settled' } });
  expect(await standing()).toMatchObject({ running_requests: 1, day: { settled_usd: 7e-7, held_usd: 1.1e-5 } });
});
