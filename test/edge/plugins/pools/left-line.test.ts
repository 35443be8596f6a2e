import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import type { AdmissionDecision } from '#edge/money/contracts/admission.ts';
import { getPoolStub } from '#edge/plugins/pools/call-pool.ts';
import { settleInside, worstCaseWith } from '#test/edge/money/account/admission-requests.ts';

const bindings = env as unknown as Bindings;

/** Asks an account inside of its object. The deployment's pool pays, too. */
async function ask(account: Account, requestId: string, outputTokens: number, waitMs: number) {
  const answer = await account.admitJson(
    JSON.stringify({
      requestId,
      waitMs,
      route: 'messages',
      model: 'claude-opus-5-5',
      maximumCost: worstCaseWith({ outputTokens }),
      defaults: { on_shortfall: 'refuse' },
      pools: { deployment: true },
    }),
  );
  return JSON.parse(answer) as AdmissionDecision;
}

function inAccount<T>(name: string, run: (account: Account) => Promise<T>): Promise<T> {
  const stub = getAccountStub(bindings, {}, name) as unknown as DurableObjectStub<Account>;
  return runInDurableObject(stub, run);
}

test('a request that was cancelled or repeated during a pool call does not block the admission queue', async () => {
  await getPoolStub(bindings, {}, 'deployment').setLimits({ usd_total: 20_000 / 1e9 });
  await inAccount('bob', (account) => ask(account, 'req_1', 1_000, 0));
  await inAccount('alice', async (account) => {
    for (const calls of [1, 2]) {
      const requestId = `req_large_${calls}`;
      const large = Array.from({ length: calls }, () => ask(account, requestId, 1_100, 60_000));
      const leave = () => settleInside(account, { requestId, status: 'client_gone', cost: 0 });
      if (calls === 1) leave();
      // It asks the pool, too: then the others have been answered by it.
      expect(await ask(account, `req_none_${calls}`, 1_100, 0)).toMatchObject({ outcome: 'refused' });
      if (calls === 2) leave();
      expect(await ask(account, `req_${calls}`, 20, 1)).toMatchObject({ outcome: 'admitted' });
      expect(await Promise.all(large)).toEqual(large.map(() => expect.objectContaining({ outcome: 'refused' })));
    }
  });
});
