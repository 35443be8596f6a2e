/**
 * Keeps settlements that wait in this isolate for another call to their account. They are plain data, because the runtime
 * does
 * not let a request wait for a promise of another request. A request that leaves a settlement here must make sure that it is
 * sent in the end.
 */

import { getOrMake } from '../cache/get-or-make.ts';
import { LruCache } from '../cache/lru.ts';
import type { Identity } from '../identity/caller.ts';
import type { Settings } from '../settings/settings.ts';
import type { Settled } from './contracts/settlement.ts';
import type { AccountBinding } from './stubs.ts';

/** A settlement, from the end of its request until its account has confirmed it. */
export interface WaitingSettlement {
  /** The settlement as JSON, as the account's object takes it. */
  readonly text: string;
  /** When a call took it along, if the call's answer has not come; milliseconds since 1970. */
  takenAt: number | undefined;
  /** What the account has answered. */
  settled: Settled | undefined;
  /** Whether it failed when it went along with another call. Then its own request sends it again, and gets the error. */
  isAlone: boolean;
}

/** Says which account's settlements are meant. */
interface SettledPlace {
  identity: Pick<Identity, 'account'>;
  accounts: AccountBinding;
  settings: Pick<Settings, 'JURISDICTION'>;
}

/** The most waiting settlements of an account. One more is sent at once, together with the others. */
const MOST_WAITING = 32;
/** The most accounts with waiting settlements. With more, each settlement is sent at once. */
const MOST_ACCOUNTS = 200;
/** Milliseconds after which a call may have died with its request. Then other calls may take its settlements along. */
const TAKEN_MS = 1_000;

type Waiting = Set<WaitingSettlement>;

/** The waiting settlements, by namespace and account. */
const waiting = new WeakMap<object, LruCache<string, Waiting>>();

/** Leaves a settlement for the next call to its account. @returns the settlement, and whether it may wait */
export function leaveSettlement(place: SettledPlace, text: string): { own: WaitingSettlement; mayWait: boolean } {
  const own: WaitingSettlement = { text, takenAt: undefined, settled: undefined, isAlone: false };
  const lists = getOrMake(waiting, place.accounts.ACCOUNT, () => new LruCache({ most: MOST_ACCOUNTS }));
  const list = getOrMake(lists, accountKey(place), (): Waiting => new Set());
  const mayWait = list.size < MOST_WAITING;
  if (mayWait) list.add(own);
  return { own, mayWait };
}

/** Takes the waiting settlements of an account. The caller must end this with `confirmTaken` or `releaseTaken`. */
export function takeWaiting(place: SettledPlace): WaitingSettlement[] {
  const list = waitingAt(place);
  if (list === undefined) return NOTHING;
  const now = Date.now();
  const taken: WaitingSettlement[] = [];
  for (const one of list) {
    if (one.isAlone || (one.takenAt !== undefined && now - one.takenAt < TAKEN_MS)) continue;
    one.takenAt = now;
    taken.push(one);
  }
  return taken;
}

/** @returns the settlements that go along with a call, as JSON; undefined if there are none. */
export function textsOf(taken: readonly WaitingSettlement[]): string | undefined {
  return taken.length === 0 ? undefined : `[${taken.map(({ text }) => text).join(',')}]`;
}

/**
 * Notes the account's results for settlements that went along.
 *
 * @param answers the results in the same order, null for one that failed; absent if none went along
 */
export function confirmTaken(
  place: SettledPlace,
  taken: readonly WaitingSettlement[],
  answers: readonly (Settled | null)[] | undefined,
): void {
  for (const [index, one] of taken.entries()) {
    const settled = answers?.[index];
    one.takenAt = undefined;
    if (settled) {
      one.settled = settled;
      forgetWaiting(place, one);
    } else one.isAlone = true;
  }
}

/** Releases the settlements of a failed call, so that other calls can take them. (Settling twice changes nothing.) */
export function releaseTaken(taken: readonly WaitingSettlement[]): void {
  for (const one of taken) one.takenAt = undefined;
}

/** Forgets a settlement that is confirmed, or that must not go along any more. */
export function forgetWaiting(place: SettledPlace, own: WaitingSettlement): void {
  const list = waitingAt(place);
  if (!list?.delete(own) || list.size > 0) return;
  waiting.get(place.accounts.ACCOUNT)?.delete(accountKey(place));
}

/** Forgets all waiting settlements of a namespace whose objects were emptied. */
export function forgetAllWaiting(accounts: AccountBinding['ACCOUNT']): void {
  waiting.delete(accounts);
}

function waitingAt(place: SettledPlace): Waiting | undefined {
  return waiting.get(place.accounts.ACCOUNT)?.get(accountKey(place));
}

function accountKey({ identity, settings }: SettledPlace): string {
  return `${settings.JURISDICTION ?? ''}/${identity.account}`;
}

const NOTHING: WaitingSettlement[] = [];
