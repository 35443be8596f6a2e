import { settingsOf } from '../../config/settings.ts';
import { callObject, type Remote } from '../../durable/call-object.ts';
import type { FailingTask } from '../../durable/retries.ts';
import { getStub, type Jurisdiction, type PoolBinding } from '../../durable/stubs.ts';
import { withTimeout } from '../../kit/async/timeout.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import type { AccountRequest } from '../../money/contracts/call-account.ts';
import type { PoolObject } from './contracts/pool.ts';
import { DEPLOYMENT_POOL } from './pool-name.ts';

/** Milliseconds that a call may take, because a request waits for it. */
const POOL_CALL_MS = 10_000;

/** @returns the stub of a pool by its name, as `groupPool` makes it */
export function poolStub({ POOL }: PoolBinding, settings: Jurisdiction, name: string): DurableObjectStub<PoolObject> {
  return getStub(POOL, settings, name) as DurableObjectStub<PoolObject>;
}

/** Tells the deployment's pool, which alerts the operator. */
export async function reportKeyState(
  { accounts: { POOL }, settings }: Pick<AccountRequest, 'accounts' | 'settings'>,
  news: string | null,
  upstream: string,
): Promise<void> {
  if (POOL)
    await callPool({ pools: { POOL }, settings, name: DEPLOYMENT_POOL }, (pool) => pool.noteKey(news, upstream));
}

/** Reports a failing task to the deployment's pool, where one is bound. */
export async function reportFailingTask(env: Bindings, failing: FailingTask): Promise<void> {
  const { POOL } = env as Partial<Bindings>;
  if (!POOL) return;
  const place = { pools: { POOL }, settings: settingsOf(env), name: DEPLOYMENT_POOL };
  await callPool(place, (pool) => pool.noteFailing(failing));
}

/**
 * Calls a pool, and again if the call did not reach it. Every method of a pool may be repeated.
 *
 * @param name as `groupPool` makes it
 * @throws ObjectUnreachable 503 while the object cannot be reached
 */
export async function callPool<T>(
  place: { pools: PoolBinding; settings: Jurisdiction; name: string },
  call: (pool: Remote<PoolObject>) => Promise<T>,
): Promise<T> {
  const stub = () => poolStub(place.pools, place.settings, place.name) as unknown as Remote<PoolObject>;
  return await callObject('pool', () => withTimeout(call(stub()), POOL_CALL_MS));
}
