/** The hooks of plugins inside the object of an account. Their rows are in its tables. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { MINUTE_MS } from '../../kit/async/durations.ts';
import { logBackgroundFailure } from '../../kit/http/log.ts';
import { getPluginMembers, memoizeFromPlugins } from '../../kit/plugins/plugins.ts';
import type { AccountObject } from '../contracts/account.ts';
import type { SettlementResult } from '../contracts/settlement.ts';
import type { ErasableResourceList } from '../lists/listed-rows.ts';
import type { AccountState } from './account-state.ts';

/** A request that was just settled. */
export interface JustSettledRequest {
  requestId: string;
  /** The conversation that the request belongs to; undefined if there is none. */
  conversation: string | undefined;
  outcome: SettlementResult['outcome'];
  cost: Nanodollars;
  /** Whether it has cost more than its hold. */
  overHold: boolean;
}

export interface AccountPlugin {
  /** Its methods of the object. */
  methods?: {
    readonly [M in keyof AccountObject]?: (
      state: AccountState,
      ...args: Parameters<AccountObject[M]>
    ) => ReturnType<AccountObject[M]>;
  };
  /** @returns what objects of the plugin keep for the account: each is erased with it, by `erase` */
  listKept?(state: AccountState): ErasableResourceList;
  /** Looks at sums that have changed. @param settled the request that has changed them; absent after any other change */
  summed?(state: AccountState, settled?: JustSettledRequest): void;
  /** Runs the due work of the plugin, from the alarm. */
  due?(state: AccountState): Promise<void>;
  /**
   * Lets one of its objects erase the account's data up to a time.
   *
   * @returns whether nothing is left there
   */
  erase?(state: AccountState, key: { account: string; id: string }, until: number): Promise<boolean>;
  /** Whether an erasure waits for `erase`, because each erasure needs it again. Then it must take only one call. */
  isErasedWithinCall?: boolean;
}

declare module '../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** The plugin's part in the object of an account. */
    readonly account?: AccountPlugin;
  }
}

/** @returns the parts of all plugins in use. Called at every settlement */
export const accountPlugins = memoizeFromPlugins(() => getPluginMembers('account'));

/** Calls a method of the object in the plugin that adds it. Only routes of that plugin call it. */
export function callAccountPluginMethod<M extends keyof AccountObject>(
  method: M,
  state: AccountState,
  ...args: Parameters<AccountObject[M]>
): ReturnType<AccountObject[M]> {
  for (const { methods } of accountPlugins()) {
    const answer = methods?.[method];
    if (answer) return answer(state, ...args);
  }
  throw new TypeError(`No plugin implements ${method}.`);
}

/** Notifies plugins that the sums of an account have changed. @param settled as for a part */
export function notifySumsChanged(state: AccountState, settled?: JustSettledRequest): void {
  for (const part of accountPlugins()) {
    try {
      part.summed?.(state, settled);
    } catch (thrown) {
      logBackgroundFailure({ account: state.accountId ?? '', hook: 'summed' }, thrown);
    }
  }
}

/** Runs the due work of plugins. A plugin that throws is called again by a later alarm, and the others are called now. */
export async function runDuePluginWork(state: AccountState): Promise<void> {
  let hasFailed = false;
  for (const part of accountPlugins()) {
    try {
      await part.due?.(state);
    } catch (thrown) {
      const nextAt = state.now() + MINUTE_MS;
      state.alarm.scheduleAt(nextAt);
      state.retries.recordFailure('plugin', thrown, nextAt);
      hasFailed = true;
    }
  }
  if (!hasFailed) state.retries.recordSuccess('plugin');
}

/** @returns what objects of a plugin keep for the account; undefined for a plugin that has none, or throws */
export function listPluginErasables(state: AccountState, part: AccountPlugin): ErasableResourceList | undefined {
  try {
    return part.listKept?.(state);
  } catch (thrown) {
    const nextAt = state.now() + MINUTE_MS;
    state.alarm.scheduleAt(nextAt);
    state.retries.recordFailure('erasure', thrown, nextAt);
    // The plugin may have stored objects of the account, so the erasure is not complete until the plugin can list them.
    return UNKNOWN_LIST;
  }
}

/** The list of a plugin that cannot list what it keeps: at least one thing, which cannot be erased yet. */
export const UNKNOWN_LIST: ErasableResourceList = {
  countCreatedUntil: () => 1,
  listIdsCreatedUntil: () => [],
  deleteRow: () => {},
};
