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

/** Says which account is called, and by which binding. */
export interface AccountRequest {
  identity: Pick<Identity, 'account'>;
  accounts: AccountBinding;
  settings: Settings;
  /** The stub that was used last; absent at first, and after a call has failed. */
  stub?: Remote<AccountObject> | undefined;
}

/** How often a call is made; see `callObject`. */
type Persistence = Parameters<typeof callObject>[2];
/** The answer of an account's object to a call with settlements along. */
interface AnswerWithSettled {
  /** The results of the settlements, in the same order; null for one that failed. */
  along?: (Settled | null)[];
}

/** Milliseconds that a settlement waits for another call to its account. */
const RIDE_MS = 20;
/**
 * Pauses after which a settlement that went along with another call is checked, before it is sent by itself. Milliseconds.
 */
const LOOK_AT_TAKEN_MS = [20, 40, 80, 160, 320];

/**
 * Calls an account's object, and again if the call was lost. (Every call here may be repeated.) Settlements for the account
 * that wait in this isolate are sent first, so that the answer includes them.
 *
 * @param persistence how often to try; see `callObject`
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
    // Calls by one stub arrive in their order, so nobody has to wait for the first one.
    const settling = sendTaken(request, stub, first, others).then(undefined, leaveToOwners);
    return Promise.all([call(stub), settling]).then(([answer]) => answer);
  });
}

/**
 * Does what `callAccount` does, but the call itself carries the waiting settlements. So they cost no call of their own.
 *
 * @param call gets the settlements as JSON; undefined if none wait
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
 * Settles at once, together with waiting settlements. It is tried for seconds. If it fails, the account's alarm will settle
 * at the whole hold.
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
  // Nothing else of the request is kept in memory while it waits, such as headers or body.
  return settleWaiting({ identity: { account: identity.account }, accounts, settings }, settlement);
}

async function settleWaiting(request: AccountRequest, settlement: string): Promise<Settled> {
  const { own, mayWait } = leaveSettlement(request, settlement);
  try {
    if (mayWait) await pause(RIDE_MS);
    for (const wait of LOOK_AT_TAKEN_MS) {
      // The request that took it along notes the result here. Waiting for that request's promise is not allowed.
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
    // Between two tries another request may have taken it along.
    if (own.settled) return own.settled;
    own.takenAt = Date.now();
    return await sendTaken(request, stub, own, takeWaiting(request));
  });
}

/** Sends the settlements that were taken. The first is the call's own; the others go along. */
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

/** Notes the results of the settlements that went along. @returns the rest of the answer */
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

/**
 * Ignores the failure of settlements that are sent before another call. The request that left them sends them, and gets the
 * error.
 */
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
