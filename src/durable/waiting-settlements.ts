/**
 * Settlements that wait in this isolate for a call that goes to their account anyway. They are plain data: the runtime lets
 * no request wait for a promise that another one has made. Whoever leaves one here sees to it that it is sent in the end.
 */

import { getOrMake } from '../cache/get-or-make.ts';
import { LruCache } from '../cache/lru.ts';
import type { Identity } from '../identity/caller.ts';
import type { Settings } from '../settings/settings.ts';
import type { Settled } from './contracts/settlement.ts';
import type { AccountBinding } from './stubs.ts';

/** A settlement, from when its request has ended until its account has confirmed it. */
export interface WaitingSettlement {
  /** As the account's object takes it: JSON. */
  readonly text: string;
  /** When a call took it along whose answer has not come; milliseconds since 1970. */
  takenAt: number | undefined;
  /** What the account has answered. */
  settled: Settled | undefined;
  /** Whether the account could not take it beside others: it is sent by itself, and whoever sends it hears why. */
  isAlone: boolean;
}

/** Whose settlements are meant. */
interface SettledPlace {
  identity: Pick<Identity, 'account'>;
  accounts: AccountBinding;
  settings: Pick<Settings, 'JURISDICTION'>;
}

/** So many of an account wait at the most; one more is sent at once, and takes the others along. */
const MOST_WAITING = 32;
/** Accounts beyond this send by themselves. What is left by a request that was killed goes with them. */
const MOST_ACCOUNTS = 200;
/** A call that took so long may have died with its request: others may take along what it took. */
export const TAKEN_MS = 1_000;

type Waiting = Set<WaitingSettlement>;

/** By namespace and account. */
const waiting = new WeakMap<object, LruCache<string, Waiting>>();

/** Leaves a settlement to the next call to its account. @returns it, and whether there was room to wait */
export function leaveSettlement(place: SettledPlace, text: string): { own: WaitingSettlement; mayWait: boolean } {
  const own: WaitingSettlement = { text, takenAt: undefined, settled: undefined, isAlone: false };
  const lists = getOrMake(waiting, place.accounts.ACCOUNT, () => new LruCache({ most: MOST_ACCOUNTS }));
  const list = getOrMake(lists, accountKey(place), (): Waiting => new Set());
  const mayWait = list.size < MOST_WAITING;
  if (mayWait) list.add(own);
  return { own, mayWait };
}

/** Takes along what waits for an account. Whoever takes must say what came of it: `confirmTaken` or `releaseTaken`. */
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

/** @returns what goes with a call, as JSON; undefined where nothing does. */
export function textsOf(taken: readonly WaitingSettlement[]): string | undefined {
  return taken.length === 0 ? undefined : `[${taken.map(({ text }) => text).join(',')}]`;
}

/**
 * Notes what an account has answered to what was taken along.
 *
 * @param answers in the order in which they were taken, null for one that it could not take; absent where the object is of
 * a version that takes none
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

/** Lets others take what a call has taken along that failed. It may have arrived: to settle again changes nothing. */
export function releaseTaken(taken: readonly WaitingSettlement[]): void {
  for (const one of taken) one.takenAt = undefined;
}

/** Forgets a settlement that is confirmed, or that nobody is to take along any more. */
export function forgetWaiting(place: SettledPlace, own: WaitingSettlement): void {
  const list = waitingAt(place);
  if (!list?.delete(own) || list.size > 0) return;
  waiting.get(place.accounts.ACCOUNT)?.delete(accountKey(place));
}

/** Forgets all that waits, for every account of a namespace whose objects were emptied. */
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
