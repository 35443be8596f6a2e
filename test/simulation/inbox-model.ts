/** What must hold of an inbox after every step, and once everything is at rest. */
import type { EventClassification } from '#edge/plugins/webhooks/webhooks-answers.schema.ts';
import { type Host, InvariantViolation } from './host.ts';
import type { World } from './world.ts';

/** What is due waits no longer: its alarm may have been set anew, for the end of another run, while its handler ran. */
const MAX_DELAY_MS = 5 * 60_000;
/** Events are kept for longer than this. */
const MIN_RETENTION_MS = 29 * 86_400_000;

export class InboxModel {
  readonly #inbox: Host;
  readonly #account: Host;
  readonly #world: World;
  /** When the sender of an event was told that it is taken. */
  readonly #acceptedIds = new Map<string, number>();
  /** What was recorded, by the row of the event: one that was erased may come anew. */
  readonly #recordedResults = new Map<string, string>();
  readonly #deliveredResults = new Map<string, Set<string>>();
  #lastCheckedChanges = 0;

  constructor(inbox: Host, account: Host, world: World) {
    this.#inbox = inbox;
    this.#account = account;
    this.#world = world;
  }

  /** A sender has been told that its event is taken. */
  noteAccepted(id: string): void {
    this.#acceptedIds.set(id, this.#world.clock.now);
  }

  /** A receiver has got a result. */
  noteDelivered(id: string, result: EventClassification): void {
    const known = this.#deliveredResults.get(id) ?? new Set();
    this.#deliveredResults.set(id, known.add(String(result.label)));
    const recorded = [...this.#recordedResults.entries()]
      .filter(([key]) => key.startsWith(`${id} `))
      .map(([, label]) => label);
    if (!recorded.includes(String(result.label))) {
      this.#world.fail(`${result.label} was delivered for ${id}, and ${recorded.join(', ')} recorded`);
    }
  }

  check(): void {
    if (this.#lastCheckedChanges === this.#inbox.storage.changes || !tableExists(this.#inbox, 'events')) return;
    this.#lastCheckedChanges = this.#inbox.storage.changes;
    for (const { id, received_at, result } of readRows(this.#inbox, 'select id, received_at, result from events')) {
      const key = `${id} ${received_at}`;
      const label = result === null ? undefined : String((JSON.parse(String(result)) as EventClassification).label);
      const known = this.#recordedResults.get(key);
      if (known !== undefined && known !== label) throw new InvariantViolation(`${id} was ${known}, and is ${label}`);
      if (label !== undefined) this.#recordedResults.set(key, label);
    }
    this.#checkAlarm();
  }

  checkAtRest(): void {
    if (!tableExists(this.#inbox, 'events')) return;
    const open = readRows(this.#inbox, "select id, state from events where due_at is not null or state != 'delivered'");
    if (open.length > 0) throw new InvariantViolation(`not delivered in the end: ${JSON.stringify(open)}`);
    if (this.#readPending.length > 0)
      throw new InvariantViolation(`not announced in the end: ${JSON.stringify(this.#readPending)}`);
    const erased = this.#readErasedAt;
    const left = readRows(this.#inbox, 'select id from events where received_at <= ?', erased);
    if (left.length > 0) throw new InvariantViolation(`not erased in the end: ${JSON.stringify(left)}`);
    for (const [id, at] of this.#acceptedIds) {
      if (erased > 0 || at < this.#world.clock.now - MIN_RETENTION_MS) continue;
      if (readRows(this.#inbox, 'select 1 from events where id = ?', id).length === 0)
        throw new InvariantViolation(`${id} is lost`);
      if (!this.#deliveredResults.has(id))
        throw new InvariantViolation(`${id}, accepted at ${at}, was never delivered`);
    }
    if (erased > 0) return;
    for (const [id, labels] of this.#deliveredResults) {
      if (labels.size > 1) throw new InvariantViolation(`${id} was delivered as ${[...labels].join(' and ')}`);
    }
  }

  #checkAlarm(): void {
    const { armedAlarm: armed } = this.#inbox.storage;
    const [due] = readRows(this.#inbox, 'select min(due_at) as at from events where due_at is not null');
    if (due?.at !== null && due?.at !== undefined) {
      const latest = Math.max(Number(due.at), this.#world.clock.now) + MAX_DELAY_MS;
      if (armed === null || armed > latest) throw new InvariantViolation('something is due, and the alarm comes later');
    }
    if (armed === null && this.#readPending.length > 0)
      throw new InvariantViolation('an account is to be told, and there is no alarm');
  }

  get #readPending() {
    return readRows(this.#inbox, "select key from meta where key like 'announcing:%'");
  }

  /** Until when the account was erased. */
  get #readErasedAt(): number {
    if (!tableExists(this.#account, 'ledger')) return 0;
    const [row] = readRows(
      this.#account,
      "select max(cast(value as integer)) as at from meta where key in ('erasing', 'erased_at')",
    );
    return Number(row?.at ?? 0);
  }
}

function tableExists(host: Host, table: string): boolean {
  return readRows(host, 'select 1 from sqlite_master where name = ?', table).length > 0;
}

function readRows(host: Host, query: string, ...bindings: (string | number)[]) {
  return host.storage.exec(query, bindings).toArray();
}
