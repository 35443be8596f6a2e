import { runDurableObjectAlarm } from 'cloudflare:test';
import { expect, test, vi } from 'vitest';
import { Account } from '#edge/money/account/account.ts';
import { COST_NANODOLLARS, createClassifyCaller, LABELS, labelMessage } from '#test/support/classification.ts';
import { wrapMethod } from '#test/support/classification-jobs.ts';
import { eventually } from '#test/support/eventually.ts';

test('keeps the hold of a classification while it is renewed, and settles it within a minute after the last renewal', async () => {
  const answered = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const renewals: (() => void)[] = [];
  vi.spyOn(globalThis, 'setInterval').mockImplementation(((call: () => void) => {
    renewals.push(call);
    return 0;
  }) as never);
  let renewed = 0;
  wrapMethod(Account, 'renewHold', (whole) => {
    renewed += 1;
    return whole();
  });
  let passed = 0;
  vi.spyOn(Account.prototype as unknown as { now(): number }, 'now').mockImplementation(() => Date.now() + passed);
  const {
    request: ask,
    getObject: object,
    readLedgerRows: rows,
  } = await createClassifyCaller(async () => {
    asked.resolve();
    await answered.promise;
    return labelMessage('bug');
  });
  const asking = ask({ input: 'It crashes', labels: LABELS });
  await asked.promise;
  const afterSeconds = async (seconds: number) => {
    passed += seconds * 1_000;
    await runDurableObjectAlarm(object());
    return (await object().getQuotaReport({})).running_requests;
  };
  for (let nth = 1; nth <= 4; nth += 1) {
    expect(await afterSeconds(20)).toBe(1);
    for (const renew of renewals) renew();
    await eventually(() => expect(renewed).toBe(nth));
  }
  expect(await afterSeconds(60)).toBe(0);
  expect((await object().listRequests({})).data).toMatchObject([{ status: 'orphaned' }]);
  answered.resolve();
  expect(((await (await asking).json()) as { label: string }).label).toBe('bug');
  expect(await rows()).toMatchObject([{ status: 'complete', late: true, cost_usd: COST_NANODOLLARS / 1e9 }]);
});
