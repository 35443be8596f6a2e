/** What rooms have inside the object of an account. Their rows are in its tables: they are read and erased without the room, too. */

import { lacksRoom } from '../../kit/http/errors.ts';
import { ofRooms, pluggedInto, seam } from '../../kit/rooms/rooms.ts';
import type { AccountObject } from '../contracts/account.ts';
import type { AccountState } from './account-state.ts';

/** The methods of the object that a room answers, and which one. Their names are released. */
const ANSWERED_BY = {
  admitBatchJson: 'batches',
  noteBatch: 'batches',
  batches: 'batches',
  beginUpload: 'files',
  files: 'files',
  describeFile: 'files',
  backupJson: 'backup',
  restoreJson: 'backup',
} as const satisfies Partial<Record<keyof AccountObject, string>>;

type AnsweredMethod = keyof typeof ANSWERED_BY;

export interface AccountPart {
  /** Its methods of the object. */
  methods?: {
    readonly [M in AnsweredMethod]?: (
      state: AccountState,
      ...args: Parameters<AccountObject[M]>
    ) => ReturnType<AccountObject[M]>;
  };
  /** Looks at sums that have changed. @param overHold the id of a request that has just cost more than its hold */
  summed?(state: AccountState, overHold?: string): void;
  /** Does what is due, by the alarm. It never throws. */
  due?(state: AccountState): Promise<void>;
  /**
   * Has one of its objects erase what it keeps for the account, up to a time.
   *
   * @returns whether nothing is left there
   */
  erase?(state: AccountState, place: { account: string; id: string }, until: number): Promise<boolean>;
}

export const ACCOUNT_PARTS = seam<AccountPart>()('account');

/** @returns the parts of all rooms in use. Every settlement asks */
export const partsOfAccounts = ofRooms(() => pluggedInto(ACCOUNT_PARTS));

/** Has a room answer a method of the object. @throws ApiError 409 if it is not in use */
export function answerByRoom<M extends AnsweredMethod>(
  method: M,
  state: AccountState,
  ...args: Parameters<AccountObject[M]>
): ReturnType<AccountObject[M]> {
  const room = ANSWERED_BY[method];
  const [part] = pluggedInto(ACCOUNT_PARTS, room);
  const answer = part?.methods?.[method];
  if (!answer) throw lacksRoom(room, 'This is for a room to answer');
  return answer(state, ...args);
}

/** Has rooms look at the sums of an account, which have changed. @param overHold as for a part */
export function lookAtSums(state: AccountState, overHold?: string): void {
  for (const part of partsOfAccounts()) part.summed?.(state, overHold);
}

/** Has an object of a room erase what it keeps. Without the room there is none: who takes its class away deletes its objects. */
export async function eraseInRoom(
  room: string,
  ...of: Parameters<NonNullable<AccountPart['erase']>>
): Promise<boolean> {
  const [part] = pluggedInto(ACCOUNT_PARTS, room);
  return (await part?.erase?.(...of)) ?? true;
}
