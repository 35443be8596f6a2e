import { isVisitor } from '../../auth/identity/identity.ts';
import { MAX_VISIT_S } from '../../config/visitors.ts';
import type { Alarm } from '../../durable/alarm.ts';
import { Rows } from '../../durable/rows.ts';
import type { Tables } from '../../durable/tables.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import type { CredentialUse } from '../contracts/admission.ts';

/** How long after its last request an account stays, in milliseconds: what it has begun may still be settled. */
const STAY_MS = DAY_MS;
const UNTIL_KEY = 'visit_until';

/** Keeps until when a visitor may come back. Only accounts of visitors have such a time. */
export class VisitorSession extends Rows {
  readonly isVisitor: boolean;
  readonly #alarm: Alarm;
  #until: number;
  #isStored = true;

  constructor(tables: Tables, { account, alarm }: { account: string | undefined; alarm: Alarm }) {
    super(tables);
    this.isVisitor = account !== undefined && isVisitor(account);
    this.#alarm = alarm;
    this.#until = Number(this.isVisitor ? (tables.meta(UNTIL_KEY) ?? 0) : 0);
  }

  /** Notes the credential of a request: until its session ends, its visitor may come back. */
  note({ exp = 0, sessionEnd = exp }: CredentialUse): void {
    if (!this.isVisitor || sessionEnd * 1_000 <= this.#until) return;
    this.#until = sessionEnd * 1_000;
    this.#isStored = false;
    if (!this.tables.areMissing) this.#store();
  }

  /** Stores that time beside the first row of the account, which would stay for ever without it. */
  begin(now: number): void {
    if (!this.isVisitor) return;
    // An admin has written first, about somebody who may still come with any token.
    if (this.#until === 0) this.#until = now + MAX_VISIT_S * 1_000;
    this.#isStored = false;
    this.#store();
  }

  #store(): void {
    if (this.#isStored) return;
    this.#alarm.schedule(this.#until);
    this.tables.setMeta(UNTIL_KEY, String(this.#until));
    this.#isStored = true;
  }

  /** Sets the alarm for the end. Before the others of an alarm, which come later: each earlier time would write a row. */
  wake(now: number): void {
    const endsAt = this.endsAt();
    if (endsAt !== undefined && endsAt > now) this.#alarm.schedule(endsAt);
  }

  /** @returns when the account may end; undefined for an account that does not end by itself. */
  endsAt(): number | undefined {
    if (!this.isVisitor || this.tables.areMissing) return undefined;
    const last = this.tables.queryNumberOrZero('select max(max(at, coalesce(settled_at, 0))) from ledger');
    return Math.max(this.#until, last + STAY_MS);
  }
}
