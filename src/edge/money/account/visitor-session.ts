/** Keeps until when a visitor may return. The visitor’s account is deleted when nothing of it can be settled any more. */

import { isVisitor } from '../../auth/identity/identity.ts';
import { MAX_VISIT_S } from '../../config/visitors.ts';
import type { DurableObjectAlarm } from '../../durable/alarm.ts';
import { TableRowsBase } from '../../durable/rows.ts';
import type { SqlTables } from '../../durable/tables.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import type { CredentialClaims } from '../contracts/admission.ts';

/** How long after its last request an account stays, in milliseconds: what it has begun may still be settled. */
const STAY_MS = DAY_MS;
const UNTIL_KEY = 'visit_until';

/** Stores until when a visitor may return. Only accounts of visitors have such a time. */
export class VisitorSession extends TableRowsBase {
  readonly isVisitor: boolean;
  readonly #alarm: DurableObjectAlarm;
  #until: number;
  #isStored = true;

  constructor(tables: SqlTables, { account, alarm }: { account: string | undefined; alarm: DurableObjectAlarm }) {
    super(tables);
    this.isVisitor = account !== undefined && isVisitor(account);
    this.#alarm = alarm;
    this.#until = Number(this.isVisitor ? (tables.readMetaValue(UNTIL_KEY) ?? 0) : 0);
  }

  /** Records the credential of a request: until its session ends, the visitor may return. */
  recordCredential({ exp = 0, sessionEnd = exp }: CredentialClaims): void {
    if (!this.isVisitor || sessionEnd * 1_000 <= this.#until) return;
    this.#until = sessionEnd * 1_000;
    this.#isStored = false;
    if (!this.tables.areTablesMissing) this.#storeSessionEnd();
  }

  /** Stores that time beside the first row of the account, which would stay for ever without it. */
  storeSessionEndOnFirstRow(now: number): void {
    if (!this.isVisitor) return;
    // The end of the session is not known if an admin's request wrote the account's first row before the visitor's first request.
    // Assume the longest session.
    if (this.#until === 0) this.#until = now + MAX_VISIT_S * 1_000;
    this.#isStored = false;
    this.#storeSessionEnd();
  }

  #storeSessionEnd(): void {
    if (this.#isStored) return;
    this.#alarm.scheduleAt(this.#until);
    this.tables.writeMetaValue(UNTIL_KEY, String(this.#until));
    this.#isStored = true;
  }

  /**
   * Sets the alarm for the end. Call it before the other times of an alarm are set, which are later: each earlier time would
   * write a row.
   */
  scheduleEndAlarm(now: number): void {
    const endsAt = this.computeAccountEndTime();
    if (endsAt !== undefined && endsAt > now) this.#alarm.scheduleAt(endsAt);
  }

  /** @returns when the account may end; undefined for an account that does not end by itself. */
  computeAccountEndTime(): number | undefined {
    if (!this.isVisitor || this.tables.areTablesMissing) return undefined;
    const last = this.tables.queryNumberOrZero('select max(max(at, coalesce(settled_at, 0))) from ledger');
    return Math.max(this.#until, last + STAY_MS);
  }
}
