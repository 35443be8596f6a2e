import { DAY_MS } from '../../async/durations.ts';
import { type Budget, type Hold, windowsOfGroup } from '../../budget/state.ts';
import type { Alarm } from '../../durable/alarm.ts';
import type { Bindings } from '../../durable/bindings.ts';
import type { AdmissionRequest } from '../../durable/contracts/admission.ts';
import type { LeaseAnswer, LeaseCall, SumsReport } from '../../durable/contracts/pool.ts';
import { readFormat, writeFormat } from '../../durable/stored-format.ts';
import { callPool } from '../../pools/call-pool.ts';
import { DEPLOYMENT_POOL, groupPool, poolOf } from '../../pools/pool-name.ts';
import type { Nanodollars } from '../../pricing/cost.ts';
import type { Limits } from '../../settings/limits.schema.ts';
import { settingsOf } from '../../settings/settings.ts';
import { daysOf, sumsOfDay } from '../ledger/day-sums.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Closing } from '../ledger/tables.ts';
import { Handovers } from './handovers.ts';
import { type Demand, Lease, NO_DEMAND } from './lease.ts';

/** An account that was not used for so long returns what it does not hold. */
const IDLE_MS = 2_000;
/** Then it has told its pools so often that it is left to their alarms. */
const MOST_RETURNS = 3;
/** A busy account reports its sums no more often. */
const REPORT_AGAIN_MS = 20_000;
/** What is settled out of turn is reported by the alarm. */
const CORRECTED_MS = 5_000;
const CORRECT_AGAIN_MS = 30_000;

/** What a pool has to be told although nothing is leased from it: the sums of a day have changed. */
interface Correction {
  name: string;
  /** Days since 1970. */
  day: number;
}

/** What stands in `meta` of an account's leases. */
interface StoredIdentity {
  /** Names its figures to pools; made by chance, so that it may outlive the account's name. */
  id: string;
  incarnation: number;
  /** The names of the pools that know it. */
  pools: string[];
}

interface Surroundings {
  /** The account's name; undefined where the platform does not tell it. */
  account: string | undefined;
  tables: Ledger;
  budget: Budget;
  alarm: Alarm;
  limits: () => Limits;
  env: () => Bindings;
  now: () => number;
  waitUntil: (work: Promise<unknown>) => void;
}

/** A lease, and the calls that are made for it: one at a time, and all who come meanwhile share the next. */
interface OpenLease {
  name: string;
  lease: Lease;
  flight: Promise<void> | undefined;
  next: Promise<void> | undefined;
  demand: Demand;
  reportedAt: number;
}

/**
 * Holds what an account has leased from the pools that it shares. In memory alone: an object that wakes has none, asks its
 * pools anew with a higher incarnation, and what it holds are rows.
 */
export class Leases {
  readonly #around: Surroundings;
  readonly #handovers: Handovers;
  readonly #open = new Map<string, OpenLease>();
  /** Days whose sums have changed since they were reported. */
  readonly #dirty = new Set<number>();
  /** Days whose sums are under way. */
  #reporting: ReadonlySet<number> = NO_DAYS;
  #corrected: Correction[];
  #identity: StoredIdentity | undefined;
  #isIncarnate = false;
  #group: string | undefined;
  /** Whether a request has come in this life, or since an erasure that pools do not know yet: until then it has no name. */
  #isNamed: boolean;
  #seenAt: number | undefined;
  #uses = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(around: Surroundings) {
    this.#around = around;
    const { tables } = around;
    const stored = tables.meta('lease');
    this.#identity = stored === undefined ? undefined : readFormat<StoredIdentity>('lease', stored);
    this.#group = tables.meta('group');
    this.#corrected = JSON.parse(tables.meta('corrected') ?? '[]') as Correction[];
    this.#handovers = new Handovers(tables);
    this.#isNamed = tables.meta(USED_SINCE_ERASURE) !== undefined;
  }

  /** @returns the group that an admin has chosen; undefined where none has. */
  get group(): string | undefined {
    return this.#group;
  }

  /** Chooses the account's group, whatever its credentials say; undefined leaves it to them. */
  setGroup(group: string | undefined): void {
    if (group === this.#group) return;
    this.#around.tables.setMeta('group', group);
    this.#group = group;
  }

  /** @returns the group that pays for a request too. */
  groupOf({ pools }: Pick<AdmissionRequest, 'pools'>): string | undefined {
    return this.#group ?? pools?.group;
  }

  /** @returns the leases that a request must be held from. */
  of(request: Pick<AdmissionRequest, 'pools'>): readonly OpenLease[] {
    const group = this.groupOf(request);
    if (group === undefined && !request.pools?.deployment) return NO_LEASES;
    this.#name();
    this.#seenAt = this.#around.budget.last;
    const leases: OpenLease[] = [];
    if (request.pools?.deployment) leases.push(this.#lease(DEPLOYMENT_POOL));
    if (group !== undefined) leases.push(this.#lease(groupPool(group)));
    return leases;
  }

  /**
   * Asks a pool for what a request needs. Afterwards everything must be decided anew: others have come meanwhile.
   *
   * @throws ObjectUnreachable 503 while the pool cannot be reached
   */
  async gain(open: OpenLease, { least, most }: Demand): Promise<void> {
    const { demand } = open;
    open.demand = {
      least: demand.most === 0 ? least : Math.min(demand.least, least),
      most: Math.min(Number.MAX_SAFE_INTEGER, demand.most + most),
    };
    this.#waitUnlessWaiting();
    await this.#ask(open);
  }

  /** Renews leases that are used and will soon not be usable, without anybody waiting for it. */
  renew(leases: readonly OpenLease[], now: number): void {
    for (const open of leases) {
      if (!open.flight && open.lease.isAging(now)) this.#around.waitUntil(this.#ask(open).catch(leaveToNext));
    }
  }

  /** Notes that a hold was placed. */
  noteHold(leases: readonly OpenLease[]): void {
    if (leases.length === 0) return;
    for (const { lease } of leases) lease.used(0);
    this.#touch();
  }

  /** Notes that a hold was replaced by what the request has cost. */
  settled({ at, group }: Hold, cost: Nanodollars): void {
    if (this.#open.size === 0) {
      this.#tellAtOnce(group);
      return;
    }
    this.#dirty.add(dayOf(at));
    for (const { name, lease } of this.#open.values()) {
      if (name === DEPLOYMENT_POOL || (group !== undefined && name === groupPool(group))) lease.used(cost);
    }
    this.#touch();
  }

  /** Tells pools of a hold that the object's last life has placed, whose leases are gone: nothing else would do so soon. */
  #tellAtOnce(group: string | undefined): void {
    const { pools = [] } = this.#identity ?? {};
    for (const name of [DEPLOYMENT_POOL, ...(group === undefined ? [] : [groupPool(group)])]) {
      if (pools.includes(name)) this.#around.waitUntil(this.#ask(this.#lease(name)).catch(leaveToNext));
    }
  }

  /** Notes that something was settled out of turn: no pool may be waiting to hear of it. */
  corrected(at: number, group: string | undefined): void {
    const { pools = [] } = this.#identity ?? {};
    const all = [DEPLOYMENT_POOL, ...(group === undefined ? [] : [groupPool(group)])];
    const names = all.filter((name) => pools.includes(name));
    if (names.length === 0) return;
    this.#setCorrected([...this.#corrected, ...names.map((name) => ({ name, day: dayOf(at) }))]);
    this.#around.alarm.wakeFor(this.#around.now() + CORRECTED_MS, 1);
  }

  /** Notes that a request was settled after the account was erased. */
  outlived(hold: Hold, closing: Closing): void {
    if (this.#identity?.pools.includes(DEPLOYMENT_POOL)) this.#handovers.addLate(DEPLOYMENT_POOL, hold, closing);
    // A pool cannot ask a lease that has no name any more.
    this.corrected(hold.at, hold.group);
  }

  /** Tells the deployment's pool that what it lists of the account was changed, without anybody waiting for it. */
  described(): void {
    if (!this.#identity?.pools.includes(DEPLOYMENT_POOL)) return;
    this.#around.waitUntil(this.#ask(this.#lease(DEPLOYMENT_POOL)).catch(leaveToNext));
  }

  /** Tells a pool, which has asked, where the account stands; what is not held goes back where it is not in use. */
  async report(name: string, since: number): Promise<void> {
    const open = this.#lease(name);
    if (name === DEPLOYMENT_POOL) {
      // What was settled after that may be of a request that was admitted the day before.
      for (const day of daysOf(this.#around.tables)) if (day >= dayOf(since) - 1) this.#dirty.add(day);
    }
    await this.#ask(open);
  }

  /** Tells pools what was settled out of turn: for the alarm, which may be the only thing that still wakes the object. */
  async reportCorrections(): Promise<void> {
    for (const name of new Set(this.#corrected.map((one) => one.name))) {
      const told = this.#corrected.filter((one) => one.name === name);
      if (name === DEPLOYMENT_POOL) for (const { day } of told) this.#dirty.add(day);
      const open = this.#lease(name);
      open.reportedAt = 0;
      await this.#ask(open).then(() => {
        const isTold = !told.some(({ day }) => name === DEPLOYMENT_POOL && this.#dirty.has(day));
        if (isTold) this.#setCorrected(this.#corrected.filter((one) => !told.includes(one)));
      }, leaveToNext);
    }
    if (this.#corrected.length > 0) this.#around.alarm.wakeFor(this.#around.now() + CORRECT_AGAIN_MS, 1);
  }

  /** Notes that the account is used: one that was erased has its name again. */
  #name(): void {
    if (this.#isNamed) return;
    this.#isNamed = true;
    // The next life of the object hands over what was erased, and must not say that nobody has used the account since.
    if (this.isHandingOver) this.#around.tables.setMeta(USED_SINCE_ERASURE, '1');
  }

  #setCorrected(corrected: Correction[]): void {
    this.#corrected = corrected;
    const text = corrected.length === 0 ? undefined : JSON.stringify(corrected);
    this.#around.tables.setMeta('corrected', text);
  }

  /** Takes down what is handed over to the pools, before the rows go that it is made of. */
  beginErasure(now: number): void {
    this.setGroup(undefined);
    this.#isNamed = false;
    this.#around.tables.setMeta(USED_SINCE_ERASURE, undefined);
    this.#seenAt = undefined;
    if (!this.#identity) return;
    // A lease that was never used in this life may have days that were not reported.
    if (this.#identity.pools.includes(DEPLOYMENT_POOL)) this.#lease(DEPLOYMENT_POOL);
    // A report that is under way may be lost.
    const days = [...this.#dirty.union(this.#reporting).union(new Set(this.#corrected.map(({ day }) => day)))];
    this.#dirty.clear();
    if (this.#corrected.length > 0) this.#setCorrected([]);
    for (const name of this.#identity.pools) {
      this.#handovers.add(name, now, name === DEPLOYMENT_POOL ? this.#sumsOf(days) : NO_SUMS);
    }
  }

  /** Hands over to the pools what an erasure has left. @returns whether there is more to hand over */
  async handOver(): Promise<boolean> {
    for (const name of this.#handovers.pools) await this.#ask(this.#lease(name)).catch(leaveToNext);
    return this.#handovers.pools.length > 0;
  }

  /** @returns whether something is left to hand over. */
  get isHandingOver(): boolean {
    return this.#handovers.pools.length > 0;
  }

  #lease(name: string): OpenLease {
    const known = this.#open.get(name);
    if (known) return known;
    const id = poolOf(name);
    const { budget } = this.#around;
    const { group } = id;
    const lease = new Lease(id, () => (group === undefined ? budget.windows : windowsOfGroup(budget, group)));
    const open = { name, lease, flight: undefined, next: undefined, demand: NO_DEMAND, reportedAt: 0 };
    this.#open.set(name, open);
    if (name === DEPLOYMENT_POOL) {
      // What an object before this one has not reported is of these days.
      const today = dayOf(budget.last);
      this.#dirty.add(today).add(today - 1);
      if (!this.#identity?.pools.includes(name)) this.#reportHistory(today - 1);
    }
    return open;
  }

  /** Has what was spent before the deployment shared a budget be reported too: by the alarm, since it may be much. */
  #reportHistory(before: number): void {
    const days = daysOf(this.#around.tables).filter((day) => day < before);
    if (days.length === 0) return;
    this.#setCorrected([...this.#corrected, ...days.map((day) => ({ name: DEPLOYMENT_POOL, day }))]);
    this.#around.alarm.wakeFor(this.#around.now() + CORRECTED_MS, 1);
  }

  async #ask(open: OpenLease): Promise<void> {
    const { flight } = open;
    if (!flight) return await this.#begin(open);
    open.next ??= flight.then(
      () => this.#begin(open),
      () => this.#begin(open),
    );
    await open.next;
  }

  async #begin(open: OpenLease): Promise<void> {
    open.next = undefined;
    const { demand } = open;
    open.demand = NO_DEMAND;
    const flight = this.#call(open, demand).finally(() => {
      open.flight = undefined;
    });
    open.flight = flight;
    await flight;
  }

  async #call(open: OpenLease, demand: Demand): Promise<void> {
    const { name, lease } = open;
    const { env, now } = this.#around;
    const sentAt = now();
    const identity = this.#incarnate(name);
    const handover = this.#handovers.first(name);
    const isIdle = demand.most === 0 && (this.#timer === undefined || handover !== undefined);
    const reports = this.#reports(open, isIdle, handover !== undefined, sentAt);
    const sums = reports ? this.#takeSums(sentAt, open) : undefined;
    const call: LeaseCall = {
      lease: identity.id,
      account: this.#around.account,
      nameless: !this.#isNamed,
      incarnation: identity.incarnation,
      ...lease.compose(demand, sentAt, isIdle),
      seenAt: this.#seenAt,
      group: this.#group,
      limits: limitsInUsd(this.#around.limits()),
      sums,
      // An erased account that nobody has used since has nothing that a pool does not know.
      owes: this.#isNamed && this.#isUnreported(open),
      handover,
    };
    const text = JSON.stringify(call);
    try {
      const bindings = env();
      const place = { pools: bindings, settings: settingsOf(bindings), name };
      const answer = JSON.parse(await callPool(place, (pool) => pool.leaseJson(text))) as LeaseAnswer;
      if (answer.incarnation > identity.incarnation) this.#outgrow(answer.incarnation);
      if (handover && answer.epoch >= handover.epoch) this.#handovers.taken(name, handover.epoch);
      // What was sent later says more.
      if (answer.incarnation !== identity.incarnation || answer.seq !== call.seq || call.seq !== lease.seq) {
        this.#putBack(sums);
        return;
      }
      if (sums) this.#reporting = NO_DAYS;
      lease.take(answer, sentAt);
    } catch (thrown) {
      this.#putBack(sums);
      throw thrown;
    }
  }

  #reports({ name, reportedAt }: OpenLease, isIdle: boolean, isHandingOver: boolean, now: number): boolean {
    if (name !== DEPLOYMENT_POOL || this.#dirty.size === 0 || isHandingOver) return false;
    return isIdle || now >= reportedAt + REPORT_AGAIN_MS || now < reportedAt;
  }

  #takeSums(now: number, open: OpenLease): SumsReport {
    open.reportedAt = now;
    const days = [...this.#dirty];
    this.#reporting = new Set(days);
    this.#dirty.clear();
    return this.#sumsOf(days);
  }

  #putBack(sums: SumsReport | undefined): void {
    if (sums) this.#reporting = NO_DAYS;
    for (const day of sums?.days ?? []) this.#dirty.add(day);
  }

  #sumsOf(days: number[]): SumsReport {
    return { days, rows: days.flatMap((day) => sumsOfDay(this.#around.tables, day)) };
  }

  /** Takes a higher incarnation before the first call of this life, and notes a pool before it is called at first. */
  #incarnate(pool: string): StoredIdentity {
    const { id = crypto.randomUUID(), incarnation = 0, pools = [] } = this.#identity ?? {};
    if (this.#isIncarnate && pools.includes(pool)) return { id, incarnation, pools };
    return this.#store({
      id,
      incarnation: this.#isIncarnate ? incarnation : incarnation + 1,
      pools: pools.includes(pool) ? pools : [...pools, pool],
    });
  }

  /** A pool knows a later life than this one: the account's rows were put back to an earlier time. */
  #outgrow(incarnation: number): void {
    if (this.#identity) this.#store({ ...this.#identity, incarnation: incarnation + 1 });
  }

  #store(identity: StoredIdentity): StoredIdentity {
    this.#around.tables.setMeta('lease', writeFormat('lease', identity));
    this.#identity = identity;
    this.#isIncarnate = true;
    return identity;
  }

  #isUnreported({ name }: OpenLease): boolean {
    return name === DEPLOYMENT_POOL && this.#dirty.size > 0;
  }

  /** @returns whether a pool counts more than is held, or knows less than was spent. */
  #owes(): boolean {
    return [...this.#open.values()].some((open) => open.lease.keepsUnused || this.#isUnreported(open));
  }

  #touch(): void {
    this.#uses += 1;
    this.#waitUnlessWaiting();
  }

  #waitUnlessWaiting(): void {
    if (this.#timer === undefined) this.#waitIdle(this.#uses, 0);
  }

  /** Returns the leases once nothing has happened for a while. Where the object dies before, the pools' alarms ask. */
  #waitIdle(uses: number, returns: number): void {
    this.#timer = setTimeout(() => {
      if (this.#uses !== uses) return this.#waitIdle(this.#uses, 0);
      this.#timer = undefined;
      const told = [...this.#open.values()].map((open) =>
        open.lease.isOpen || this.#isUnreported(open) ? this.#ask(open) : undefined,
      );
      // Some of it may have been a call for a request, which returns nothing; or it was lost.
      const again = Promise.allSettled(told).then(() => {
        if (this.#timer !== undefined || returns + 1 >= MOST_RETURNS) return;
        if (this.#owes()) this.#waitIdle(this.#uses, returns + 1);
      });
      this.#around.waitUntil(again);
    }, IDLE_MS);
  }
}

/** In `meta`, while an erasure is handed over: whether the account was used since. */
const USED_SINCE_ERASURE = 'used_since_erasure';
const NO_LEASES: readonly OpenLease[] = [];
const NO_DAYS: ReadonlySet<number> = new Set();
const NO_SUMS: SumsReport = { days: [], rows: [] };

function dayOf(time: number): number {
  return Math.floor(time / DAY_MS);
}

/** A call that nobody waits for failed: the next one says the same. */
function leaveToNext(): void {}

function limitsInUsd({ usd_per_day, usd_per_week, usd_per_month }: Limits): LeaseCall['limits'] {
  return { usd_per_day, usd_per_week, usd_per_month };
}
