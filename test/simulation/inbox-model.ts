/** What must hold of an inbox after every step, and once everything is at rest. */
import type { Classification } from '#edge/plugins/webhooks/webhooks-answers.schema.ts';
import { type Host, Violation } from './host.ts';
import type { World } from './world.ts';

/** What is due waits no longer: its alarm may have been set anew, for the end of another run, while its handler ran. */
const LATE_MS = 5 * 60_000;
/** Events are kept for longer than this. */
const KEPT_MS = 29 * 86_400_000;

export class InboxModel {
  readonly #inbox: Host;
  readonly #account: Host;
  readonly #world: World;
  /** When the sender of an event was told that it is taken. */
  readonly #accepted = new Map<string, number>();
  /** What was recorded, by the row of the event: one that was erased may come anew. */
  readonly #recorded = new Map<string, string>();
  readonly #delivered = new Map<string, Set<string>>();
  #seen = 0;

  constructor(inbox: Host, account: Host, world: World) {
    this.#inbox = inbox;
    this.#account = account;
    this.#world = world;
  }

  /** A sender has been told that its event is taken. */
  accepted(id: string): void {
    this.#accepted.set(id, this.#world.clock.now);
  }

  /** A receiver has got a result. */
  delivered(id: string, result: Classification): void {
    const known = this.#delivered.get(id) ?? new Set();
    this.#delivered.set(id, known.add(String(result.label)));
    const recorded = [...this.#recorded.entries()]
      .filter(([key]) => key.startsWith(`${id} `))
      .map(([, label]) => label);
    if (!recorded.includes(String(result.label))) {
      this.#world.fail(`${result.label} was delivered for ${id}, and ${recorded.join(', ')} recorded`);
    }
  }

  look(): void {
    if (this.#seen === this.#inbox.storage.changes || !isThere(this.#inbox, 'events')) return;
    this.#seen = this.#inbox.storage.changes;
    for (const { id, received_at, result } of read(this.#inbox, 'select id, received_at, result from events')) {
      const key = `${id} ${received_at}`;
      const label = result === null ? undefined : String((JSON.parse(String(result)) as Classification).label);
      const known = this.#recorded.get(key);
      if (known !== undefined && known !== label) throw new Violation(`${id} was ${known}, and is ${label}`);
      if (label !== undefined) this.#recorded.set(key, label);
    }
    this.#checkAlarm();
  }

  lookAtRest(): void {
    if (!isThere(this.#inbox, 'events')) return;
    const open = read(this.#inbox, "select id, state from events where due_at is not null or state != 'delivered'");
    if (open.length > 0) throw new Violation(`not delivered in the end: ${JSON.stringify(open)}`);
    if (this.#pending.length > 0) throw new Violation(`not announced in the end: ${JSON.stringify(this.#pending)}`);
    const erased = this.#erasedAt;
    const left = read(this.#inbox, 'select id from events where received_at <= ?', erased);
    if (left.length > 0) throw new Violation(`not erased in the end: ${JSON.stringify(left)}`);
    for (const [id, at] of this.#accepted) {
      if (erased > 0 || at < this.#world.clock.now - KEPT_MS) continue;
      if (read(this.#inbox, 'select 1 from events where id = ?', id).length === 0) throw new Violation(`${id} is lost`);
      if (!this.#delivered.has(id)) throw new Violation(`${id}, accepted at ${at}, was never delivered`);
    }
    if (erased > 0) return;
    for (const [id, labels] of this.#delivered) {
      if (labels.size > 1) throw new Violation(`${id} was delivered as ${[...labels].join(' and ')}`);
    }
  }

  #checkAlarm(): void {
    const { armed } = this.#inbox.storage;
    const [due] = read(this.#inbox, 'select min(due_at) as at from events where due_at is not null');
    if (due?.at !== null && due?.at !== undefined) {
      const latest = Math.max(Number(due.at), this.#world.clock.now) + LATE_MS;
      if (armed === null || armed > latest) throw new Violation('something is due, and the alarm comes later');
    }
    if (armed === null && this.#pending.length > 0)
      throw new Violation('an account is to be told, and there is no alarm');
  }

  get #pending() {
    return read(this.#inbox, "select key from meta where key like 'announced:%' and value = 'pending'");
  }

  /** Until when the account was erased. */
  get #erasedAt(): number {
    if (!isThere(this.#account, 'ledger')) return 0;
    const [row] = read(
      this.#account,
      "select max(cast(value as integer)) as at from meta where key in ('erasing', 'erased_at')",
    );
    return Number(row?.at ?? 0);
  }
}

function isThere(host: Host, table: string): boolean {
  return read(host, 'select 1 from sqlite_master where name = ?', table).length > 0;
}

function read(host: Host, query: string, ...bindings: (string | number)[]) {
  return host.storage.exec(query, bindings).toArray();
}
