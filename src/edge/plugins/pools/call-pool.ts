import { parseSettingsOnce } from '../../config/settings.ts';
import { callObjectWithRetry, type RemoteMethods, toRemoteMethods } from '../../durable/call-object.ts';
import type { FailingTask } from '../../durable/retries.ts';
import { getDurableObjectStub, type JurisdictionSetting, type PoolBinding } from '../../durable/stubs.ts';
import { waitWithTimeout } from '../../kit/async/timeout.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import type { AccountTarget } from '../../money/contracts/call-account.ts';
import type { PoolObject } from './contracts/pool.ts';
import { DEPLOYMENT_POOL } from './pool-name.ts';

/** Milliseconds that a call may take, because a request waits for it. */
const POOL_CALL_MS = 10_000;

/** @returns the stub of a pool by its name, as `toGroupPoolName` makes it */
export function getPoolStub(
  { POOL }: PoolBinding,
  settings: JurisdictionSetting,
  name: string,
): DurableObjectStub<PoolObject> {
  return getDurableObjectStub(POOL, settings, name) as DurableObjectStub<PoolObject>;
}

/** Reports the state of a key to the deployment's pool, which alerts the operator. */
export async function reportKeyStateToPool(
  { accounts: { POOL }, settings }: Pick<AccountTarget, 'accounts' | 'settings'>,
  news: string | null,
  upstream: string,
): Promise<void> {
  if (POOL)
    await callPool({ pools: { POOL }, settings, name: DEPLOYMENT_POOL }, (pool) =>
      pool.recordUpstreamKeyState(news, upstream),
    );
}

/** Reports a failing task to the deployment's pool, where one is bound. */
export async function reportFailingTask(env: Bindings, failing: FailingTask): Promise<void> {
  const { POOL } = env as Partial<Bindings>;
  if (!POOL) return;
  const place = { pools: { POOL }, settings: parseSettingsOnce(env), name: DEPLOYMENT_POOL };
  await callPool(place, (pool) => pool.recordFailingTask(failing));
}

/**
 * Calls a pool, and again if the call did not reach it. Every method of a pool may be repeated.
 *
 * @param name as `toGroupPoolName` makes it
 * @throws ObjectUnreachableError 503 while the object cannot be reached
 */
export async function callPool<T>(
  place: { pools: PoolBinding; settings: JurisdictionSetting; name: string },
  call: (pool: RemoteMethods<PoolObject>) => Promise<T>,
): Promise<T> {
  const createStub = () => toRemoteMethods<PoolObject>(getPoolStub(place.pools, place.settings, place.name));
  return await callObjectWithRetry('pool', () => waitWithTimeout(call(createStub()), POOL_CALL_MS));
}
