/** What must hold of the batches of an account after every step, and once everything is at rest. */
import type { Journal } from '#edge/plugins/batches/journal.ts';
import type { BatchApi } from './batch-api.ts';
import { type Host, InvariantViolation } from './host.ts';

/** A batch as its maker knows it. */
interface Known {
  requestId: string;
  items: number;
  /** In nanodollars. */
  hold: number;
  host: Host;
  /** Its id at the upstream, once it was made there. */
  there?: string;
  /** Whether the object has confirmed to its maker that it was made. */
  isAcknowledged?: boolean;
  isCancelled?: boolean;
  isRemoved?: boolean;
}

export class BatchModel {
  readonly #account: Host;
  readonly #api: BatchApi;
  readonly #itemCost: number;
  readonly #batches = new Map<string, Known>();
  /** What was settled, by the ids of requests: it does not change. */
  readonly #settled = new Map<string, number>();
  readonly #seen = new Map<Host, number>();
  #isErased = false;

  /** @param itemCost what each item costs that is not cancelled; nanodollars */
  constructor(account: Host, api: BatchApi, itemCost: number) {
    this.#account = account;
    this.#api = api;
    this.#itemCost = itemCost;
  }

  begun(id: string, known: Known): void {
    this.#batches.set(id, known);
  }

  made(id: string, there: string): void {
    Object.assign(this.#of(id), { there });
  }

  acknowledged(id: string): void {
    Object.assign(this.#of(id), { isAcknowledged: true });
  }

  cancelled(id: string): void {
    Object.assign(this.#of(id), { isCancelled: true });
  }

  removed(id: string): void {
    Object.assign(this.#of(id), { isRemoved: true });
  }

  erased(): void {
    this.#isErased = true;
  }

  /** Somebody was told of the state of a batch. */
  told(id: string, kind: 'known' | 'refused' | 'none'): void {
    const { isAcknowledged, isRemoved } = this.#of(id);
    if (isAcknowledged && !isRemoved && !this.#isErased && kind !== 'known') this.fail(`${id} is ${kind}`);
  }

  fail(words: string): never {
    throw new InvariantViolation(words);
  }

  check(): void {
    if (this.#hasChanged(this.#account)) this.#checkLedger();
    for (const [id, { host }] of this.#batches) {
      if (!this.#hasChanged(host)) continue;
      const journal = journalOf(host);
      if (!journal || host.storage.armedAlarm !== null) continue;
      this.fail(`${id} is ${journal.phase}, owes ${journal.owes.join(', ') || 'nothing'}, and has no alarm`);
    }
  }

  checkAtRest(): void {
    const held = this.#rows().filter(({ status }) => status === 'held');
    if (held.length > 0) this.fail(`still held in the end: ${JSON.stringify(held)}`);
    for (const [id, known] of this.#batches) this.#checkEnd(id, known);
  }

  #checkEnd(id: string, { requestId, items, hold, host, there, isAcknowledged, isRemoved }: Known): void {
    const journal = journalOf(host);
    if (journal && journal.owes.length > 0) this.fail(`${id} still owes ${journal.owes.join(', ')}`);
    const { upstreamId } = journal ?? {};
    const batch = this.#api.made.find((one) => one.id === there);
    if (batch && (this.#isErased || isRemoved) && upstreamId === batch.id && !batch.isDeleted && journal?.isErased)
      this.fail(`${id} is not deleted at the upstream`);
    if (this.#isErased) return;
    const cost = this.#settled.get(requestId);
    if (batch && isAcknowledged) {
      const wanted = batch.cancelledAt === undefined ? items * this.#itemCost : 0;
      if (cost !== wanted) this.fail(`${id} has cost ${wanted}, and is booked at ${cost}`);
    } else if (batch && cost !== hold && cost !== items * this.#itemCost && cost !== 0) {
      this.fail(`${id} was made, nobody knows it, and it is booked at ${cost}`);
    } else if (!batch && cost !== undefined && cost !== 0 && cost !== hold) this.fail(`${id} was booked at ${cost}`);
    if (batch && isAcknowledged && !isRemoved && journal?.phase !== 'ended') this.fail(`${id} is ${journal?.phase}`);
  }

  #checkLedger(): void {
    for (const { id, status, cost } of this.#rows()) {
      if (status === 'held') continue;
      const before = this.#settled.get(id);
      if (before !== undefined && before !== cost) this.fail(`${id} was settled at ${before}, and is now ${cost}`);
      this.#settled.set(id, cost);
    }
  }

  #rows(): { id: string; status: string; cost: number }[] {
    if (!this.#account.storage.hasTable('ledger')) return [];
    return this.#account.storage
      .exec('select id, status, cost from ledger', [])
      .toArray()
      .map(({ id, status, cost }) => ({ id: String(id), status: String(status), cost: Number(cost) }));
  }

  #hasChanged(host: Host): boolean {
    const { changes } = host.storage;
    if (this.#seen.get(host) === changes) return false;
    this.#seen.set(host, changes);
    return true;
  }

  #of(id: string): Known {
    const known = this.#batches.get(id);
    if (!known) throw new TypeError(`Nobody has made ${id}.`);
    return known;
  }
}

function journalOf({ storage }: Host): Journal | undefined {
  if (!storage.hasTable('record')) return undefined;
  const [row] = storage.exec('select journal from record', []).toArray();
  return row && (JSON.parse(String(row.journal)) as Journal);
}
