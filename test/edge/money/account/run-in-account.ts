import { runInDurableObject } from 'cloudflare:test';
import type { Account } from '#edge/money/account/account.ts';

/**
 * Runs something in the object of an account, by a clock of the test's own.
 *
 * @param retentionDays for so long the rows of its ledger are kept
 */
export async function runInAccount<T>(
  stub: DurableObjectStub<Account>,
  { now, retentionDays }: { now: () => number; retentionDays: number },
  run: (account: Account, state: DurableObjectState) => T | Promise<T>,
): Promise<T> {
  return await runInDurableObject(stub, async (account: Account, state) => {
    const inside = account as unknown as { now: () => number; env: Record<string, unknown> };
    inside.now = now;
    inside.env = { ...inside.env, RETENTION_DAYS: String(retentionDays) };
    return await run(account, state);
  });
}
