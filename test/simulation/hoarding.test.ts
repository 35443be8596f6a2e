/** Accounts that race for the budgets they share lease no more of them than their own limits let them use. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import { requestAdmissionOfAccount } from '#edge/money/admission/request-admission.ts';
import { sendSettlement } from '#edge/money/contracts/call-account.ts';
import { worstCaseWith } from '../edge/money/account/admission-requests.ts';
import { env, findHost, runInWorld } from './bindings.ts';
import { settleTasks } from './clock.ts';
import { InvariantViolation } from './host.ts';
import { MAX_DURATION_MS, RUNS, SEED } from './property.ts';
import { NO_MISHAPS, type Scheduler, World } from './world.ts';

const USD = 1_000_000_000;
const ACCOUNTS = ['alice', 'bob', 'carol'];
const POOLS = ['deployment', 'group:red'];
/** How many ask at once in each account, and how often each asks. */
const CALLERS = 3;
const TIMES = 2;
const ANSWER_MS = 2_000;
const REST_MS = 60 * 60_000;
/** What 128,000 tokens of Claude Opus may cost: $3.20. For the least of it, $0.60, one waits for the other. An answer costs less. */
const BOUND = worstCaseWith({ outputTokens: 128_000, outputPrice: 25_000, usefulOutput: 24_000 });
const COST = 30_000_000;

/** @returns the most that the three have leased of a pool at one time, in nanodollars, and how many were admitted */
async function race(scheduler: Scheduler): Promise<{ most: number; admitted: number }> {
  const world = new World(scheduler, NO_MISHAPS);
  const settings = parseSettingsOnce(env);
  let most = 0;
  let admitted = 0;
  await runInWorld(world, {}, async () => {
    const pools = POOLS.map((name) => findHost('POOL', name));
    for (const pool of pools) {
      void pool.invoke('setLimits', [{ usd_per_day: 10 }]);
      await settleTasks();
      pool.commitStep();
    }
    const look = () => {
      for (const { name, storage } of pools) {
        let all = 0;
        for (const { account, windows } of storage.exec('select account, windows from leases', []).toArray()) {
          const { windows: leased } = JSON.parse(String(windows)) as { windows: Record<string, { granted: number }> };
          const granted = Math.max(...Object.values(leased).map((window) => window.granted));
          if (granted > USD) throw new InvariantViolation(`${account} of $1 has $${granted / USD} of ${name}`);
          all += granted;
        }
        most = Math.max(most, all);
      }
    };
    let requests = 0;
    const ask = async (account: string) => {
      requests += 1;
      const requestId = `req_${String(requests).padStart(24, '0')}`;
      const who = { identity: { account }, accounts: env, settings };
      const { outcome } = await requestAdmissionOfAccount(who, {
        requestId,
        route: 'messages',
        model: 'claude-opus-5-5',
        maximumCost: BOUND,
        waitMs: 20_000,
        defaults: { usd_per_day: 1 },
        pools: { deployment: true, group: 'red' },
      });
      if (outcome !== 'admitted') return;
      admitted += 1;
      await new Promise((resolve) => setTimeout(resolve, ANSWER_MS));
      await sendSettlement(who, JSON.stringify({ requestId, status: 'complete', cost: COST }));
    };
    world.suspendMishaps(REST_MS);
    let running = ACCOUNTS.length * CALLERS;
    for (let nth = 0; nth < ACCOUNTS.length * CALLERS; nth += 1)
      void (async () => {
        for (let times = 0; times < TIMES; times += 1) await ask(ACCOUNTS[nth % ACCOUNTS.length] ?? '');
      })()
        .catch((thrown: unknown) => world.fail(String(thrown)))
        .finally(() => {
          running -= 1;
        });
    while (running > 0 && (await world.step())) look();
  });
  return { most, admitted };
}

test(
  'three accounts limited to $1 never lease more than $3 of a group and a deployment with $10',
  async () => {
    const schedules = fc.asyncProperty(fc.scheduler(), async (scheduler) => {
      const { most, admitted } = await race(scheduler);
      expect(admitted).toBe(ACCOUNTS.length * CALLERS * TIMES);
      // They do lease, and more than one has at a time.
      expect(most).toBeGreaterThan(USD);
      expect(most).toBeLessThanOrEqual(ACCOUNTS.length * USD);
    });
    await fc.assert(schedules, { numRuns: Math.ceil(RUNS / 10), seed: SEED });
  },
  MAX_DURATION_MS,
);
