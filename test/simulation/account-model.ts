/** What must hold of an account after every step, and once everything is at rest. */
import type { Account } from '#edge/money/account/account.ts';
import { type Host, InvariantViolation } from './host.ts';
import type { World } from './world.ts';

interface Row {
  id: string;
  at: number;
  status: string;
  hold: number;
  cost: number;
  late: number;
}

/** The requests of an account: each is settled once, and only an orphan's estimate is replaced. */
export class LedgerModel {
  readonly #account: Host;
  readonly #settled = new Map<string, string>();
  #lastCheckedChanges = 0;

  constructor(account: Host) {
    this.#account = account;
  }

  check(): void {
    if (this.#lastCheckedChanges === this.#account.storage.changes) return;
    this.#lastCheckedChanges = this.#account.storage.changes;
    const rows = this.rows();
    for (const { id, status, cost, late } of rows) {
      if (status === 'held') continue;
      const now = `${status} ${cost}${late === 1 ? ' late' : ''}`;
      const before = this.#settled.get(id);
      if (before !== undefined && before !== now && !before.startsWith('orphaned')) {
        throw new InvariantViolation(`${id} was settled twice: ${before}, then ${now}`);
      }
      this.#settled.set(id, now);
    }
    // What was erased is not known any more.
    const known = new Set(rows.map(({ id }) => id));
    for (const id of this.#settled.keys()) if (!known.has(id)) this.#settled.delete(id);
    const isHeld = rows.some(({ status }) => status === 'held');
    if (isHeld && this.#account.storage.armedAlarm === null)
      throw new InvariantViolation('something is held, and there is no alarm');
  }

  checkAtRest(): void {
    const held = this.rows().filter(({ status }) => status === 'held');
    if (held.length > 0) throw new InvariantViolation(`held in the end: ${JSON.stringify(held)}`);
  }

  rows(): Row[] {
    const { storage } = this.#account;
    if (storage.exec("select 1 from sqlite_master where name = 'ledger'", []).toArray().length === 0) return [];
    return storage.exec('select id, at, status, hold, cost, late from ledger', []).toArray() as unknown as Row[];
  }
}

const DAY_MS = 86_400_000;
/** In nanodollars. Three requests fill a day. */
export const LIMIT = 30_000;

/** A whole account: its budget, what it has stored, and what it owes to the store and to an erasure. */
export class AccountModel {
  readonly #account: Host;
  readonly #world: World;
  readonly #store: ReadonlyMap<string, string>;
  readonly #ledger: LedgerModel;
  #allowedExcess = 0;
  #lastCheckedChanges = 0;

  constructor(account: Host, world: World, store: ReadonlyMap<string, string>) {
    this.#account = account;
    this.#world = world;
    this.#store = store;
    this.#ledger = new LedgerModel(account);
  }

  /** @returns the rows of its ledger. */
  rows(): ReturnType<LedgerModel['rows']> {
    return this.#ledger.rows();
  }

  /** Something was billed beyond what was held for it. */
  allowExcess(nanodollars: number): void {
    this.#allowedExcess += nanodollars;
  }

  check(): void {
    this.#ledger.check();
    if (this.#lastCheckedChanges === this.#account.storage.changes || !this.#hasTables) return;
    this.#lastCheckedChanges = this.#account.storage.changes;
    this.#checkBudget();
    this.#checkAlarm();
  }

  checkAtRest(): void {
    if (!this.#hasTables) return;
    this.#ledger.checkAtRest();
    const erased = this.#getErasedUntil;
    const left = this.#ledger.rows().filter(({ at }) => at <= erased);
    const conversations = this.#read('select id from conversations where created_at <= ?', erased);
    if (this.#readMeta('erasing') !== undefined || left.length > 0 || conversations.length > 0) {
      throw new InvariantViolation(`not erased in the end: ${JSON.stringify([left, conversations])}`);
    }
    const pointers = this.#read("select 'prefix:' || name || ':alice' as key, hash as value from names");
    const values = this.#read("select 'prefix@' || hash || ':' || name || ':alice' as key from versions");
    const expected = [...pointers, ...values].map(({ key }) => key).sort();
    const stored = [...this.#store.keys()].filter((key) => key.startsWith('prefix')).sort();
    const isSame = JSON.stringify(expected) === JSON.stringify(stored);
    if (!isSame || pointers.some(({ key, value }) => this.#store.get(String(key)) !== value)) {
      throw new InvariantViolation(
        `the store has ${JSON.stringify([...this.#store])} in the place of ${JSON.stringify(expected)}`,
      );
    }
  }

  /** What is decided by, in memory, is what the rows say, and within the limit. */
  #checkBudget(): void {
    const day = Math.floor(this.#world.clock.now / DAY_MS) * DAY_MS;
    const erased = this.#getErasedUntil;
    const [sums] = this.#read(
      "select coalesce(sum(cost), 0) as cost from rollups where model = '(erased)' and day = ?",
      day / DAY_MS,
    );
    let settled = Number(sums?.cost);
    let held = 0;
    for (const { at, status, hold, cost } of this.#ledger.rows()) {
      if (at < day) continue;
      if (status === 'held') held += hold;
      else if (at > erased) settled += cost;
    }
    if (settled + held > LIMIT + this.#allowedExcess)
      throw new InvariantViolation(
        `overspent: ${settled} settled, ${held} held: ${JSON.stringify(this.#ledger.rows())}`,
      );
    const object = this.#account.object as Account | undefined;
    if (!object) return;
    const { day: known } = object.getQuotaReport();
    const [knownSettled, knownHeld] = [known.settled_usd, known.held_usd].map((usd) => Math.round(usd * 1e9));
    if (knownSettled !== settled || knownHeld !== held) {
      throw new InvariantViolation(
        `decided by ${knownSettled} settled, ${knownHeld} held; stored are ${settled}, ${held}`,
      );
    }
  }

  #checkAlarm(): void {
    if (this.#account.storage.armedAlarm !== null) return;
    const doomed = this.#read('select 1 from conversations where created_at <= ?', this.#getErasedUntil);
    const untold = this.#read(
      "select name from names where told = 0 union select name from versions where state != 'told'",
    );
    if (this.#readMeta('erasing') !== undefined || doomed.length > 0 || this.#readMeta('answers_kept') !== undefined) {
      throw new InvariantViolation('something is to be erased, and there is no alarm');
    }
    if (untold.length > 0) throw new InvariantViolation('the store is to be told something, and there is no alarm');
  }

  get #getErasedUntil(): number {
    return Math.max(Number(this.#readMeta('erasing') ?? 0), Number(this.#readMeta('erased_at') ?? 0));
  }

  #readMeta(key: string): string | undefined {
    const [row] = this.#read('select value from meta where key = ?', key);
    return row && String(row.value);
  }

  get #hasTables(): boolean {
    return this.#read("select 1 from sqlite_master where name = 'version_holds'").length > 0;
  }

  #read(query: string, ...bindings: (string | number)[]) {
    return this.#account.storage.exec(query, bindings).toArray();
  }
}
