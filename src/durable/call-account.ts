import { pause } from '../async/pause.ts';
import type { Identity } from '../identity/caller.ts';
import type { Settings } from '../settings/settings.ts';
import { callObject, type Remote } from './call-object.ts';
import type { AccountObject } from './contracts/account.ts';
import type { Settled } from './contracts/settlement.ts';
import { type AccountBinding, accountStub } from './stubs.ts';
import {
  confirmTaken,
  forgetWaiting,
  leaveSettlement,
  releaseTaken,
  takeWaiting,
  textsOf,
  type WaitingSettlement,
} from './waiting-settlements.ts';

/** Whose account is called, and by which binding. */
export interface AccountRequest {
  identity: Pick<Identity, 'account'>;
  accounts: AccountBinding;
  settings: Settings;
  /** The object as it was reached last; absent at first, and once a call has failed. */
  stub?: Remote<AccountObject> | undefined;
}

/** How often a call is made; see `callObject`. */
type Persistence = Parameters<typeof callObject>[2];
/** What an account's object answers to a call that took settlements along. */
interface AnswerWithSettled {
  /** In the order in which they were taken along; null for one that it could not take. */
  along?: (Settled | null)[];
}

/** For so long a settlement waits for a call that goes to its account anyway. */
export const RIDE_MS = 20;
/** Pauses after which a settlement that was taken along is looked at again, before it is sent by itself. */
const LOOK_AT_TAKEN_MS = [20, 40, 80, 160, 320];

/**
 * Calls an account's object, and again if the call was lost on the way: every call here may be repeated. What waits in this
 * isolate to be settled with the account goes before it, so that the answer knows of it.
 *
 * @param persistence how long it is tried; see `callObject`
 * @throws ObjectUnreachable 503 while the object cannot be reached
 */
export function callAccount<T>(
  request: AccountRequest,
  call: (account: Remote<AccountObject>) => Promise<T>,
  persistence?: Persistence,
): Promise<T> {
  return callStub(request, persistence, (stub) => {
    const [first, ...others] = takeWaiting(request);
    if (first === undefined) return call(stub);
    // Calls by one stub arrive in their order: nobody has to wait for the first.
    const settling = sendTaken(request, stub, first, others).then(undefined, leaveToOwners);
    return Promise.all([call(stub), settling]).then(([answer]) => answer);
  });
}

/**
 * Does what `callAccount` does, where the call itself takes along what waits to be settled: it costs no call of its own.
 *
 * @param call is given JSON to pass on, or undefined where nothing waits
 * @returns the answer, read from its JSON
 * @throws ObjectUnreachable as `callAccount`
 */
export function callAccountAlong<T>(
  request: AccountRequest,
  call: (account: Remote<AccountObject>, along: string | undefined) => Promise<string>,
): Promise<T> {
  return callStub(request, undefined, async (stub) => {
    const taken = takeWaiting(request);
    return await answered<T>(request, taken, call(stub, textsOf(taken)));
  });
}

/**
 * Settles at once, and takes along what waits. It is tried for seconds: what cannot be settled here, the account's alarm
 * settles at the whole hold.
 *
 * @param settlement as JSON
 * @throws ObjectUnreachable as `callAccount`
 */
export function settleNow(request: AccountRequest, settlement: string): Promise<Settled> {
  return settleOwn(request, { text: settlement, takenAt: undefined, settled: undefined, isAlone: false });
}

/**
 * Settles with the next call that this isolate makes to the account, or after 20 ms. It is tried for seconds.
 *
 * @param settlement as JSON
 * @throws ObjectUnreachable as `callAccount`
 */
export function settleSoon({ identity, accounts, settings }: AccountRequest, settlement: string): Promise<Settled> {
  // Nothing else of the request is kept while it waits: its headers, its body.
  return settleWaiting({ identity: { account: identity.account }, accounts, settings }, settlement);
}

async function settleWaiting(request: AccountRequest, settlement: string): Promise<Settled> {
  const { own, mayWait } = leaveSettlement(request, settlement);
  try {
    if (mayWait) await pause(RIDE_MS);
    for (const wait of LOOK_AT_TAKEN_MS) {
      // Whoever took it along tells it here; a promise of theirs must not be waited for.
      if (own.takenAt === undefined) break;
      await pause(wait);
    }
    return own.settled ?? (await settleOwn(request, own));
  } finally {
    forgetWaiting(request, own);
  }
}

function settleOwn(request: AccountRequest, own: WaitingSettlement): Promise<Settled> {
  return callStub(request, 'persistent', async (stub) => {
    // Between two tries somebody else may have taken it along.
    if (own.settled) return own.settled;
    own.takenAt = Date.now();
    return await sendTaken(request, stub, own, takeWaiting(request));
  });
}

/** Settles what was taken, the first by itself: also an object of a version that takes none along settles that. */
async function sendTaken(
  request: AccountRequest,
  stub: Remote<AccountObject>,
  first: WaitingSettlement,
  others: readonly WaitingSettlement[],
): Promise<Settled> {
  try {
    const settled = await answered<Settled>(request, others, stub.settleJson(first.text, textsOf(others)));
    confirmTaken(request, [first], [settled]);
    return settled;
  } catch (thrown) {
    releaseTaken([first]);
    throw thrown;
  }
}

/** Notes what was answered to those that were taken along. @returns the rest of the answer */
async function answered<T>(
  request: AccountRequest,
  taken: readonly WaitingSettlement[],
  answer: Promise<string>,
): Promise<T> {
  try {
    const told = JSON.parse(await answer) as AnswerWithSettled & T;
    confirmTaken(request, taken, told.along);
    delete told.along;
    return told;
  } catch (thrown) {
    releaseTaken(taken);
    throw thrown;
  }
}

/** A settlement that goes before another call failed: whoever has left it here sends it, and hears why. */
function leaveToOwners(): void {}

function callStub<T>(
  request: AccountRequest,
  persistence: Persistence,
  call: (stub: Remote<AccountObject>) => Promise<T>,
): Promise<T> {
  const { accounts, settings, identity } = request;
  const callOnce = () => {
    request.stub ??= accountStub(accounts, settings, identity.account) as unknown as Remote<AccountObject>;
    return call(request.stub);
  };
  // A stub that has thrown stays broken.
  const onThrown = () => {
    request.stub = undefined;
  };
  return callObject('account', callOnce, persistence, onThrown);
}
