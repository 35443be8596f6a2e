/** Stores in the row of a paid call (a turn or a summary) what is needed to settle its last attempt after a crash. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { BilledAttempt } from '../../money/admission/billed-attempt.ts';
import { type StoredGrant, UNKNOWN_GRANT } from '../../money/admission/price-outcome.ts';
import { createAttemptId, parseAttemptNumber } from '../../money/admission/reserve-attempt.ts';
import type { TurnRow } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';

/**
 * Milliseconds. After a crash, a turn is charged for output at most until this long after it last stored a row or `coversUntil`. A running
 * turn stores one of them at least every fifteen seconds.
 */
export const COVER_MS = 20_000;

/** Milliseconds. A turn that waited longer before it was sent stores when that was: no output is counted for the time before. */
const MAX_UNSTORED_WAIT_MS = 1_000;

/**
 * Creates the grant of the next attempt before the account is called. From then on, the account may have placed a hold: if the
 * object dies, it is settled by this id.
 */
export function createNextAttemptGrant(
  { grant, requestId }: Pick<TurnRow, 'grant' | 'requestId'>,
  stored: Pick<StoredGrant, 'earlier' | 'startedAt'>,
): StoredGrant & { requestId: string } {
  const before = grant?.requestId ?? requestId;
  return { ...UNKNOWN_GRANT, requestId: createAttemptId(before, parseAttemptNumber(before) + 1), ...stored };
}

/**
 * Stores the grant of a turn's last attempt in its row, so that the attempt can be settled after a crash. There are three cases:
 *
 * - The account stores the grant with its hold (`isGrantStored`). Then the row stores none, unless the admission took long.
 * - The account does not store it. Then it is stored with the first events or at the first tick of the turn's timer, whichever is
 *   earlier, and after that tick at once. A shorter answer stores it together with its end.
 * - The turn runs in the background. Then it is stored before its request is sent.
 *
 * A later attempt also stores its id before the account is called for it. Times are milliseconds since 1970.
 */
export class TurnGrantStore {
  readonly #transcript: Transcript;
  readonly #row: TurnRow;
  #isStored = true;
  #hasEnded = false;
  #storesAtOnce = false;
  /** The grant of the last admitted attempt, while later attempts are not admitted. */
  #previousGrant: StoredGrant | null | undefined;

  constructor(transcript: Transcript, row: TurnRow) {
    this.#transcript = transcript;
    this.#row = row;
  }

  /** Stores the id of the next attempt before the account is called. */
  storeNextAttemptId(earlier: Nanodollars, startedAt: number): void {
    if (this.#hasEnded) return;
    const grant = createNextAttemptGrant(this.#row, { earlier, startedAt });
    this.#transcript.updateTurn(this.#row, { grant });
    // An attempt whose admission was rejected has stored its grant in the row, so keep the grant of the admitted one.
    if (this.#previousGrant === undefined) this.#previousGrant = this.#row.grant;
    this.#row.grant = grant;
  }

  /** Sets the grant of an admitted attempt in the row, in memory only. `storeSentGrant` stores it, in case the object dies. */
  recordAdmittedGrant(
    attempt: Pick<BilledAttempt, 'requestId' | 'grant' | 'admission'>,
    upstream: string | undefined,
    now: number,
  ): void {
    const { requestId, grant, admission } = attempt;
    this.#previousGrant = undefined;
    Object.assign(this.#row, {
      grant: { ...grant, requestId, ...(upstream === undefined ? {} : { upstream }) },
      sentAt: now,
      coversUntil: now + COVER_MS,
    });
    this.#isStored = admission?.isGrantStored === true && now - this.#row.beganAt < MAX_UNSTORED_WAIT_MS;
    if (this.#storesAtOnce) this.storeSentGrant();
  }

  /** Stores the grant of the attempt that was sent, and from now on that of each later attempt at once. */
  storeGrantsFromNowOn(): void {
    this.#storesAtOnce = true;
    this.storeSentGrant();
  }

  /** Stores the grant of the attempt that has been sent, unless it is stored already. */
  storeSentGrant(): void {
    if (this.#isStored || this.#hasEnded) return;
    const { grant, sentAt, coversUntil } = this.#row;
    this.#transcript.updateTurn(this.#row, { grant, sentAt, coversUntil });
    this.#isStored = true;
  }

  /** Stores during a silence that the turn still runs, so that a crash is settled for this time as well. */
  storeCoveredTime(now: number): void {
    const coversUntil = now + COVER_MS;
    this.#transcript.updateTurn(this.#row, { coversUntil });
    this.#row.coversUntil = coversUntil;
  }

  /** Goes back to the grant of the last admitted attempt. The turn ends with it. */
  restoreLastAdmittedGrant(): void {
    if (this.#previousGrant !== undefined) this.#row.grant = this.#previousGrant;
    this.#hasEnded = true;
  }
}
