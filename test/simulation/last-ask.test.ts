/** Who has waited long enough asks the pool once more before it is refused. */
import { expect, test } from 'vitest';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import { createLimitRejectionError } from '#edge/money/admission/limit-headers.ts';
import { requestAdmissionOfAccount } from '#edge/money/admission/request-admission.ts';
import type { AdmissionDecision } from '#edge/money/contracts/admission.ts';
import { worstCaseWith } from '../edge/money/account/admission-requests.ts';
import { env, findHost, runInWorld } from './bindings.ts';
import { settleTasks } from './clock.ts';
import { createFifoScheduler } from './honest-mixes.ts';
import { NO_MISHAPS, World } from './world.ts';

/** Nanodollars that a pool has for all who ask it at once, and how many ask: more than there are rounds. */
const AMPLE = 1_000_000_000;
const CROWD = 12;
/** Less than the time after which those who wait are looked at. */
const WAIT_MS = 500;

/** @returns what alice is told, who needs 12,000 of a deployment's 20,000 of which bob holds 11,000 */
async function askOne(raisedTo: number | undefined) {
  const world = new World(createFifoScheduler(), NO_MISHAPS);
  const settings = parseSettingsOnce(env);
  return await runInWorld(world, {}, async () => {
    const pool = findHost('POOL', 'deployment');
    const limit = async (nanodollars: number) => {
      void pool.invoke('setLimits', [{ usd_per_day: nanodollars / 1e9 }]);
      await settleTasks();
      pool.commitStep();
    };
    await limit(20_000);
    const ask = (account: string, outputTokens: number) =>
      requestAdmissionOfAccount(
        { identity: { account }, accounts: env, settings },
        {
          requestId: `req_${account.padStart(24, '0')}`,
          route: 'messages',
          model: 'claude-opus-5-5',
          waitMs: WAIT_MS,
          pools: { deployment: true },
          maximumCost: worstCaseWith({ outputTokens }),
          defaults: { on_shortfall: 'refuse' },
        },
      );
    world.suspendMishaps(60_000);
    const answers: Awaited<ReturnType<typeof ask>>[] = [];
    void ask('bob', 1_000).then(async (bob) => {
      answers.push(bob);
      if (raisedTo !== undefined) setTimeout(() => void limit(raisedTo), WAIT_MS / 2);
      answers.push(await ask('alice', 1_100));
    });
    while (answers.length < 2 && (await world.step()));
    return answers;
  });
}

test("a request is admitted if the pool's limit was raised before the account asks the pool a last time", async () => {
  expect(await askOne(24_000)).toMatchObject([{ outcome: 'admitted' }, { outcome: 'admitted', hold: 12_000 }]);
});

test('the rejection of a request names the pool that lacks budget when it is asked a last time', async () => {
  expect(await askOne(undefined)).toMatchObject([
    { outcome: 'admitted' },
    { outcome: 'refused', refusal: { reason: 'held', by: 'deployment', limit: 'usd_per_day' } },
  ]);
});

test('the rejection of a request that loses every round for budget names no payer if the pool has budget left', async () => {
  const world = new World(createFifoScheduler(), NO_MISHAPS);
  const answers = await runInWorld(world, {}, async () => {
    const pool = findHost('POOL', 'deployment');
    void pool.invoke('setLimits', [{ usd_per_day: AMPLE / 1e9 }]);
    await settleTasks();
    pool.commitStep();
    world.suspendMishaps(60_000);
    const told: AdmissionDecision[] = [];
    for (let nth = 0; nth < CROWD; nth += 1)
      void requestAdmissionOfAccount(
        { identity: { account: 'alice' }, accounts: env, settings: parseSettingsOnce(env) },
        {
          requestId: `req_${String(nth).padStart(24, '0')}`,
          route: 'messages',
          model: 'claude-opus-5-5',
          pools: { deployment: true },
          maximumCost: worstCaseWith({ outputTokens: AMPLE }),
        },
      ).then((answer) => told.push(answer));
    while (told.length < CROWD && (await world.step()));
    return told;
  });
  const holds = answers.map((answer) => (answer.outcome === 'admitted' ? answer.hold : 0));
  const refused = answers.flatMap((answer) => (answer.outcome === 'refused' ? answer.refusal : []));
  // The pool covers a thousand of the least that each needs.
  expect(AMPLE - holds.reduce((sum, hold) => sum + hold)).toBeGreaterThan(1_000 * (refused[0]?.needed ?? AMPLE));
  expect(refused.length).toBeGreaterThan(2);
  for (const one of refused) {
    expect(one).toMatchObject({ reason: 'held', late: true, limit: '' });
    const { status, message, headers } = createLimitRejectionError(one, {});
    expect([status, headers['sluice-limited-by'], headers['retry-after']]).toEqual([429, undefined, '2']);
    expect(message).not.toMatch(/spend limit|set aside for/);
  }
});
