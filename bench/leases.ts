import { setTimeout as sleep } from 'node:timers/promises';
import { ACCOUNTS_IN_TURNS, bare, type Contender, countedLeased, leased, unleased } from './contenders.ts';
import { type Counts, countDuring } from './counts.ts';
import { Client } from './measure.ts';
import { startChild } from './processes.ts';
import { type Bundle, startServer } from './server.ts';
import { spread } from './statistics.ts';
import { align, number, verdict } from './table.ts';
import { burst } from './workloads.ts';

/** What a shared budget adds to a request: while all accounts are busy, and to one that asks now and then. */
export interface LeaseFigures {
  busy: Counts;
  rare: Counts;
  /** CPU that leases add to a request of a busy account, in shares of what the bare Worker takes. */
  addedCpu: number | undefined;
  /** Milliseconds to the first event of a request that must lease, and of one that need not. */
  firstEventMs: { leasing: number; leased: number };
}

const CEILINGS = { busyCalls: 2.05, busyRows: 2.2, rareCalls: 4, rareRows: 8, addedCpu: 0.2 };
const BUSY_REQUESTS = 12_800;
/** Accounts have returned their leases after this time. */
const RETURNED_MS = 6_000;

/** Measures what leases cost: counts by the Worker that counts, CPU and times by the one that is deployed. */
export async function measureLeases(
  bundles: { bare: Bundle; deployed: Bundle; counted: Bundle },
  upstream: string,
  rounds: number,
): Promise<LeaseFigures> {
  const counting = await startServer(countedLeased, bundles.counted, upstream);
  const load = startChild(new URL('load.ts', import.meta.url));
  const client = new Client(load, countedLeased, counting);
  await client.send(burst, 4 * ACCOUNTS_IN_TURNS);
  const busy = await countDuring(counting, BUSY_REQUESTS, () => client.send(burst, BUSY_REQUESTS));
  await sleep(RETURNED_MS);
  const rare = await countDuring(
    counting,
    ACCOUNTS_IN_TURNS,
    () => client.send(burst, ACCOUNTS_IN_TURNS),
    () => sleep(RETURNED_MS),
  );
  await counting.stop();
  load.disconnect();

  const timed = await Promise.all(
    (
      [
        [bare, bundles.bare],
        [unleased, bundles.deployed],
        [leased, bundles.deployed],
      ] as const
    ).map(async ([contender, bundle]) => await clientOf(contender, bundle, upstream)),
  );
  for (const one of timed) await one.client.warmUp(burst);
  const added: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const cpu: number[] = [];
    for (const one of timed) cpu.push((await one.client.measureCpu(burst)) ?? Number.NaN);
    const [plain = Number.NaN, without = Number.NaN, sharing = Number.NaN] = cpu;
    added.push((sharing - without) / plain);
  }
  const sharing = timed[2]?.client;
  await sleep(RETURNED_MS);
  const leasing = (await sharing?.measure({ ...burst, requests: 1, latencyRequests: ACCOUNTS_IN_TURNS - 1 }))
    ?.firstEventMs;
  const ready = (await sharing?.measure({ ...burst, requests: ACCOUNTS_IN_TURNS }))?.firstEventMs;
  for (const one of timed) await one.stop();
  return {
    busy,
    rare,
    addedCpu: added.some(Number.isNaN) ? undefined : spread(added).median,
    firstEventMs: { leasing: spread(leasing ?? []).median, leased: spread(ready ?? []).median },
  };
}

async function clientOf(contender: Contender, bundle: Bundle, upstream: string) {
  const server = await startServer(contender, bundle, upstream);
  const load = startChild(new URL('load.ts', import.meta.url));
  const stop = async () => {
    await server.stop();
    load.disconnect();
  };
  return { client: new Client(load, contender, server), stop };
}

/** @returns whether a ceiling is exceeded. */
export function isOver({ busy, rare, addedCpu = 0 }: LeaseFigures): boolean {
  return (
    busy.objectCalls > CEILINGS.busyCalls ||
    busy.rowsWritten > CEILINGS.busyRows ||
    rare.objectCalls > CEILINGS.rareCalls ||
    rare.rowsWritten > CEILINGS.rareRows ||
    addedCpu > CEILINGS.addedCpu
  );
}

export function leaseTable({ busy, rare, addedCpu, firstEventMs }: LeaseFigures): string {
  const row = (title: string, value: number, ceiling: number) => [
    `  ${title}`,
    number(value),
    verdict(String(ceiling), value > ceiling),
  ];
  return align([
    [`${ACCOUNTS_IN_TURNS} accounts in one pool, per request`, '', 'ceiling'],
    row('object calls, busy', busy.objectCalls, CEILINGS.busyCalls),
    row('rows written, busy', busy.rowsWritten, CEILINGS.busyRows),
    row('object calls, each once', rare.objectCalls, CEILINGS.rareCalls),
    row('rows written, each once', rare.rowsWritten, CEILINGS.rareRows),
    ...(addedCpu === undefined ? [] : [row('CPU added, of bare', addedCpu, CEILINGS.addedCpu)]),
    ['  first event where it must lease, ms', number(firstEventMs.leasing), ''],
    ['  first event where it need not, ms', number(firstEventMs.leased), ''],
  ]);
}
