/** What must hold of pools and the accounts that share them, after every step, and once everything is at rest. */
import { findCalendarWindowAt, formatCalendarWindowId, PERIODS, type Period } from '#edge/money/budget/windows.ts';
import type { LeaseRequest } from '#edge/plugins/pools/contracts/pool.ts';
import { type Host, InvariantViolation } from './host.ts';
import type { World } from './world.ts';

/** The limits of a pool's windows, in shares of a day's. */
export const WINDOW_SHARES = { hour: 0.8, day: 1, week: 1.2, month: 1.2, total: 1.4 };
const USABLE_MS = 60_000;
const DEPLOYMENT = 'deployment';
/** The pool that has no limit at first where the deployment has none. */
export const UNLIMITED = 'group:red';

interface SpentAmount {
  account: string;
  group: string | null;
  at: number;
  amount: number;
}

/** What was settled and held in a window when it was last looked at, under which limit. */
interface Total {
  sum: number;
  limit: number;
  /** The least since the limit was lowered: what was there before stays, and is no reason to admit more. */
  minimum: number;
}

/** One pool, with the limits that it has had. */
interface Watched {
  name: string;
  host: Host;
  /** In nanodollars, of a day. */
  limits: { from: number; limit: number }[];
}

export class PoolModel {
  readonly #world: World;
  readonly #accounts: ReadonlyMap<string, Host>;
  readonly #pools: Watched[];
  readonly #spentAmounts = new Map<string, SpentAmount>();
  readonly #expectedCosts = new Map<string, number>();
  readonly #totals = new Map<string, Total>();
  readonly #spanIds = new Map<string, string>();
  readonly #isLimited: boolean;
  /** The accounts whose rows are not all there any more. */
  readonly #forgottenLeases = new Set<string>();
  #allowedExcess = 0;
  #lastUsedAt = 0;
  #maxReturnMs: number | undefined;
  #lastCheckedChanges = -1;

  constructor(
    world: World,
    accounts: ReadonlyMap<string, Host>,
    pools: ReadonlyMap<string, Host>,
    { limit, isLimited }: { limit: number; isLimited: boolean },
  ) {
    this.#isLimited = isLimited;
    this.#world = world;
    this.#accounts = accounts;
    this.#pools = [...pools].map(([name, host]) => ({
      name,
      host,
      limits: [{ from: world.clock.now, limit: isLimited || name !== UNLIMITED ? limit : Number.POSITIVE_INFINITY }],
    }));
  }

  /** Something was billed beyond what was held for it. */
  allowExcess(nanodollars: number): void {
    this.#allowedExcess += nanodollars;
  }

  /** A request is going to be settled at this. */
  noteCost(id: string, nanodollars: number): void {
    this.#expectedCosts.set(id, nanodollars);
  }

  /** Somebody has asked for something, or settled it. */
  noteUse(): void {
    this.#lastUsedAt = this.#world.clock.now;
  }

  /** From now on nothing fails: what is not held is returned so many milliseconds after the last request. */
  expectReturns(milliseconds: number): void {
    this.noteUse();
    this.#maxReturnMs = milliseconds;
  }

  check(): void {
    this.#checkReturns();
    const hosts = [...this.#accounts.values(), ...this.#pools.map(({ host }) => host)];
    const changes = hosts.reduce((sum, { storage }) => sum + storage.changes, 0);
    if (changes === this.#lastCheckedChanges) return;
    this.#lastCheckedChanges = changes;
    const leaseIds = this.#readRows();
    for (const pool of this.#pools) {
      const leases = this.#readLeases(pool);
      this.#readLimit(pool);
      // Nothing is held from a pool without limits.
      if (this.#isLimited || pool.name !== DEPLOYMENT) {
        this.#checkLimit(pool);
        // From a pool without a limit an account may hold what it likes, without a word.
        if (pool.limits[0]?.limit !== Number.POSITIVE_INFINITY) this.#checkGrants(pool, leases, leaseIds);
      }
      if (leases.some(({ open, account }) => open === 1 && account !== null) && pool.host.storage.armedAlarm === null) {
        throw new InvariantViolation(`${pool.name} has leases open, and no alarm`);
      }
    }
  }

  checkAtRest(): void {
    for (const pool of this.#pools) {
      const open = this.#readLeases(pool).filter((lease) => lease.open === 1);
      if (open.length > 0) throw new InvariantViolation(`leased in the end: ${pool.name} ${JSON.stringify(open)}`);
      this.#checkErasedNames(pool);
      this.#checkPoolTotals(pool);
    }
    this.#checkSums();
    for (const pool of this.#pools) this.#checkAccountCounts(pool);
  }

  /** A pool counts for each account what its ledger says, in the windows of now. */
  #checkAccountCounts(pool: Watched): void {
    const leaseIds = this.#readRows();
    const leases = new Map(this.#readLeases(pool).map((lease) => [String(lease.id), lease]));
    for (const [account, host] of this.#accounts) {
      if (this.#forgottenLeases.has(account)) continue;
      const lease = leases.get(leaseIds.get(account) ?? NO_LEASE_ID);
      const { windows } = (lease ? JSON.parse(String(lease.windows)) : { windows: {} }) as {
        windows: Record<string, Figures>;
      };
      for (const period of PERIODS) {
        const { start } = findCalendarWindowAt(period, this.#world.clock.now);
        const id = this.#getSpanId(period, start);
        const spent = this.#sumWindow(pool.name, period, start, account);
        const counted = (windows[id]?.spent ?? 0) + (basesOf(host)[pool.name]?.[id] ?? 0);
        if (spent !== counted) {
          throw new InvariantViolation(
            `${account} has spent ${spent} in ${pool.name} ${id}, and ${counted} is counted`,
          );
        }
      }
    }
  }

  /** No pool knows the name of an account that was erased and not used since. */
  #checkErasedNames(pool: Watched): void {
    const named = [...this.#accounts.values()].filter((host) => {
      const [used] = readRows(host, 'ledger', "select value from meta where key = 'used_since_erasure'");
      const [erased] = readRows(host, 'ledger', "select value from meta where key = 'erased_at'");
      return used !== undefined || erased === undefined;
    });
    const living = new Set(named.map(leaseIdOf));
    const kept = this.#readLeases(pool).find(({ id, account }) => account !== null && !living.has(String(id)));
    if (kept) throw new InvariantViolation(`an erased account keeps its name: ${pool.name} ${JSON.stringify(kept)}`);
  }

  /** What a pool counts in all is what was spent, erased or not. */
  #checkPoolTotals(pool: Watched): void {
    const counted = this.#readLeases(pool).reduce((sum, { windows }) => {
      const figures = (JSON.parse(String(windows)) as { windows: Record<string, Figures> }).windows;
      return sum + (figures.total?.spent ?? 0);
    }, 0);
    const [table, by] =
      pool.name === DEPLOYMENT ? ['rollups', ''] : ['group_rollups', `and pool_group = '${pool.name.slice(6)}'`];
    let spent = 0;
    for (const host of this.#accounts.values()) {
      const [folded] = readRows(host, 'ledger', `select coalesce(sum(cost), 0) as cost from ${table} where true ${by}`);
      const query = `select cost from ledger where status != 'held' and id > '${markerOf(host)}' ${by}`;
      for (const { cost } of [...(folded ? [folded] : []), ...readRows(host, 'ledger', query)]) spent += Number(cost);
    }
    if (counted !== spent)
      throw new InvariantViolation(`${spent} was spent in ${pool.name} in all, and ${counted} is counted`);
  }

  /** @returns the ids of the leases by the accounts that have one */
  #readRows(): Map<string, string> {
    const leaseIds = new Map<string, string>();
    for (const [account, host] of this.#accounts) {
      const id = leaseIdOf(host);
      if (id !== undefined) leaseIds.set(account, id);
      const known = new Set<string>();
      for (const row of readRows(host, 'ledger', 'select id, at, status, hold, cost, pool_group from ledger')) {
        const id = String(row.id);
        known.add(id);
        const amount = Number(row.status === 'held' ? row.hold : row.cost);
        this.#spentAmounts.set(id, { account, group: row.pool_group as string | null, at: Number(row.at), amount });
      }
      for (const [id, spent] of this.#spentAmounts) {
        // It was erased: what it has cost stays, and is no more than what was told.
        if (spent.account !== account || known.has(id)) continue;
        this.#forgottenLeases.add(account);
        spent.amount = Math.min(spent.amount, this.#expectedCosts.get(id) ?? spent.amount);
      }
    }
    return leaseIds;
  }

  #readLimit({ host, limits }: Watched): void {
    const [row] = readRows(host, 'leases', "select value from meta where key = 'limits'");
    if (!row) return;
    const { usd_per_day } = JSON.parse(String(row.value)) as { usd_per_day: number };
    const limit = Math.round(usd_per_day * 1e9);
    if (limit !== limits.at(-1)?.limit) limits.push({ from: this.#world.clock.now, limit });
  }

  /** What is settled and held in a window, by all accounts or by one. */
  #sumWindow(pool: string, period: Period, start: number, account?: string): number {
    const end = findCalendarWindowAt(period, start).end;
    let sum = 0;
    for (const spent of this.#spentAmounts.values()) {
      if (account !== undefined && spent.account !== account) continue;
      if (pool !== DEPLOYMENT && pool !== `group:${spent.group}`) continue;
      if (spent.at >= start && spent.at < end) sum += spent.amount;
    }
    return sum;
  }

  #checkLimit({ name, limits }: Watched): void {
    const { now } = this.#world.clock;
    // A lowered limit is felt once no lease can be used that was granted before.
    const inForce = limits.filter((_, at) => (limits[at + 1]?.from ?? now) >= now - USABLE_MS);
    const most = Math.max(...inForce.map(({ limit }) => limit));
    for (const period of PERIODS) {
      for (const time of [now, now - 30 * 60_000]) {
        const { start } = findCalendarWindowAt(period, time);
        const key = `${name} ${this.#getSpanId(period, start)}`;
        const sum = this.#sumWindow(name, period, start);
        const limit = most * WINDOW_SHARES[period];
        const before = this.#totals.get(key) ?? { sum: 0, limit, minimum: 0 };
        const least = limit < before.limit ? before.sum : Math.min(before.minimum, sum);
        this.#totals.set(key, { sum, limit, minimum: least });
        if (sum > before.sum && sum > Math.max(limit, least) + this.#allowedExcess) {
          throw new InvariantViolation(
            `${key}: ${sum} settled and held, and ${limit} is the limit, with ${this.#allowedExcess} of debt`,
          );
        }
      }
    }
  }

  /** Nothing is leased but what is held, some time after the last request. */
  #checkReturns(): void {
    const { now } = this.#world.clock;
    if (this.#maxReturnMs === undefined || now <= this.#lastUsedAt + this.#maxReturnMs) return;
    // All of it was so before this step too: time has passed since.
    for (const pool of this.#pools) {
      for (const { id, account, windows } of this.#readLeases(pool)) {
        const [host] = [...this.#accounts.values()].filter((one) => leaseIdOf(one) === id);
        if (!host) continue;
        // A hold that nobody has settled is used until its deadline, and told of then.
        const isHeld = `status = 'held' or status = 'orphaned' and deadline > ${now - this.#maxReturnMs}`;
        const held = readRows(host, 'ledger', `select at, hold, pool_group from ledger where ${isHeld}`);
        const figures = (JSON.parse(String(windows)) as { windows: Record<string, Figures> }).windows;
        for (const period of PERIODS) {
          const { start, end } = findCalendarWindowAt(period, now);
          const figure = figures[this.#getSpanId(period, start)];
          if (!figure) continue;
          const kept = held
            .filter(({ at, pool_group }) => {
              const isOfPool = pool.name === DEPLOYMENT || pool.name === `group:${pool_group}`;
              return isOfPool && Number(at) >= start && Number(at) < end;
            })
            .reduce((sum, { hold }) => sum + Number(hold), 0);
          const unused = figure.granted - figure.spent - kept;
          if (unused > 0) {
            const since = (now - this.#lastUsedAt) / 1_000;
            throw new InvariantViolation(
              `${account} has ${unused} leased from ${pool.name} ${period} ${since} s after the last use`,
            );
          }
        }
      }
    }
  }

  /** No account goes beyond what its pool has written down. */
  #checkGrants(pool: Watched, rows: LeaseRows, leaseIds: ReadonlyMap<string, string>): void {
    const leases = new Map(rows.map((lease) => [String(lease.id), lease]));
    for (const [account, host] of this.#accounts) {
      const lease = leases.get(leaseIds.get(account) ?? NO_LEASE_ID);
      const { windows } = (lease ? JSON.parse(String(lease.windows)) : { windows: {} }) as {
        windows: Record<string, { granted: number }>;
      };
      for (const period of PERIODS) {
        const { start } = findCalendarWindowAt(period, this.#world.clock.now);
        const used = this.#sumWindow(pool.name, period, start, account);
        const id = this.#getSpanId(period, start);
        let granted = (windows[id]?.granted ?? 0) + (basesOf(host)[pool.name]?.[id] ?? 0);
        // Until the last call of an old lease has come, what is held may be counted there.
        for (const { call } of lastCallsOf(host, pool.name)) {
          const old = leases.get(call.lease);
          const figures = old ? (JSON.parse(String(old.windows)) as { windows: Record<string, Figures> }).windows : {};
          const told = call.windows.find((window) => window.id === id)?.spent ?? 0;
          granted += Math.max(0, (figures[id]?.granted ?? 0) - told);
        }
        if (used > granted + this.#allowedExcess) {
          throw new InvariantViolation(`${account} has used ${used} of ${granted} in ${pool.name} ${id}`);
        }
      }
    }
  }

  /** What accounts have reported is what their ledgers say, erased or not. */
  #checkSums(): void {
    const pool = this.#pools.find(({ name }) => name === DEPLOYMENT);
    if (!pool) return;
    const reported = new Map<string, number>();
    const sums = "select lease, sum(cost) as cost from used where dimension = 'model' group by lease";
    for (const row of readRows(pool.host, 'used', sums)) {
      reported.set(String(row.lease), Number(row.cost));
    }
    const told = [...reported.values()].reduce((sum, cost) => sum + cost, 0);
    let all = 0;
    for (const [account, host] of this.#accounts) {
      const id = leaseIdOf(host);
      const folded = 'select coalesce(sum(cost), 0) as cost from rollups where model';
      const [row] = readRows(host, 'ledger', `${folded} != '(erased)'`);
      const [erased] = readRows(host, 'ledger', `${folded} = '(erased)'`);
      const marker = markerOf(host);
      const rest = readRows(host, 'ledger', `select cost from ledger where status != 'held' and id > '${marker}'`);
      const named = Number(row?.cost ?? 0) + rest.reduce((sum, { cost }) => sum + Number(cost), 0);
      const own = reported.get(id ?? '') ?? 0;
      if (own !== named) throw new InvariantViolation(`${account} has spent ${named}, and ${own} is reported`);
      if (id !== undefined) this.#checkTags(account, host, pool, id);
      all += named + Number(erased?.cost ?? 0);
    }
    if (all !== told) throw new InvariantViolation(`${all} was spent in all, erased or not, and ${told} is reported`);
  }

  /** What was spent by tag, and by tag and group, is what the ledger says; each request has one tag here. */
  #checkTags(account: string, host: Host, pool: Watched, lease: string): void {
    const marker = markerOf(host);
    for (const group of ['', 'and pool_group is not null']) {
      const [table, by] = group === '' ? ['dimensions', "''"] : ['group_dimensions', 'pool_group'];
      const own = `select value, grouped, sum(cost) as cost from (
          select value, ${by} as grouped, cost from ${table} where dimension = 'tag' and value != ''
          union all
          select dimensions ->> '$.tags' as value, ${by} as grouped, cost from ledger
          where id > '${marker}' and status != 'held' and dimensions ->> '$.tags' is not null ${group}
        ) group by 1, 2 having sum(cost) != 0 order by 1, 2`;
      const told = `select value, ${by} as grouped, sum(cost) as cost from used
        where lease = '${lease}' and dimension = 'tag' and value != '' ${group && "and pool_group != ''"}
        group by 1, 2 having sum(cost) != 0 order by 1, 2`;
      const [spent, known] = [readRows(host, 'ledger', own), readRows(pool.host, 'used', told)].map((rows) =>
        JSON.stringify(rows.map(({ value, grouped, cost }) => [value, grouped, cost])),
      );
      if (spent !== known)
        throw new InvariantViolation(`${account} has spent ${spent} by tag, and ${known} is reported`);
    }
  }

  /** They are asked for after every step: to write a date takes longer than to find it. */
  #getSpanId(period: Period, start: number): string {
    const key = `${period} ${start}`;
    const id = this.#spanIds.get(key) ?? formatCalendarWindowId(period, start);
    this.#spanIds.set(key, id);
    return id;
  }

  #readLeases({ host }: Watched): LeaseRows {
    return readRows(host, 'leases', 'select id, account, open, windows from leases');
  }
}

/** No lease has this id. */
const NO_LEASE_ID = 'none';

type LeaseRows = ReturnType<typeof readRows>;

/** @returns the id of an account's lease; undefined where it has none */
function leaseIdOf(host: Host): string | undefined {
  const [identity] = readRows(host, 'ledger', "select value from meta where key = 'lease'");
  return identity && (JSON.parse(String(identity.value)) as { id: string }).id;
}

/** @returns the marker: rows of the ledger after this id are not in its rollups yet */
function markerOf(host: Host): string {
  const [fold] = readRows(host, 'ledger', "select value from meta where key = 'fold'");
  return fold ? (JSON.parse(String(fold.value)) as { marker: string }).marker : '';
}

/** @returns by pool and window: what pools count under ids that the account has had before */
function basesOf(host: Host): Record<string, Record<string, number>> {
  const [identity] = readRows(host, 'ledger', "select value from meta where key = 'lease'");
  return identity ? (JSON.parse(String(identity.value)) as { base: Record<string, Record<string, number>> }).base : {};
}

/** @returns the last calls of an erased account's leases of which it does not know that the pool has taken them */
function lastCallsOf(host: Host, name: string): { call: LeaseRequest }[] {
  const [left] = readRows(host, 'ledger', "select value from meta where key = 'last_calls'");
  const calls = left ? (JSON.parse(String(left.value)) as { pool: string; call: LeaseRequest }[]) : [];
  return calls.filter(({ pool }) => pool === name);
}

interface Figures {
  spent: number;
  granted: number;
}

function readRows(host: Host, table: string, query: string) {
  if (!host.storage.hasTable(table)) return [];
  return host.storage.exec(query, []).toArray();
}
