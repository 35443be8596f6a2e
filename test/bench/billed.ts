/** What each kind of work is billed for until an hour later, and what a million of it cost by the price list of Workers Paid. */
import { readFile, writeFile } from 'node:fs/promises';
import { storeAfterMs } from '../../src/edge/talk/turn/store-schedule.ts';
import { counted, countedTurn } from './contenders.ts';
import { countBilled, type NamedCounts } from './counts.ts';
import { countStep } from './runs.ts';
import type { Bundle } from './server.ts';
import { align, number, verdict } from './table.ts';
import { countEvent } from './webhooks.ts';
import { burst, burst500, paced500, spread500 } from './workloads.ts';

/** Dollars for a million, beyond what the plan includes. Source: the price list of Workers Paid, as `docs/cost.md` has it. */
const PRICES = { request: 0.3, cpuMs: 0.02, objectCall: 0.15, row: 1, kvRead: 0.5, gbSecond: 12.5 };
/** Each object in memory counts as 128 MB. */
const OBJECT_GB = 0.125;
/** Reports of sums to pools, which many requests share. */
const SHARED_CALLS = 0.1;
const COST_FILE = new URL('../../docs/cost.md', import.meta.url);
/** The heading above the table that is written there. */
const COST_HEADING = '## A million of each';

interface Kind {
  title: string;
  /** The name in `docs/cost.md`, where it is shown there, and the flag by which a mix says how many there are. */
  shown?: { name: string; flag: 'streams' | 'turns' | 'steps' | 'events' };
  count(bundle: Bundle, origin: string): Promise<NamedCounts & { seconds?: number }>;
  /** Whether it is a request to the Worker, and whether an object is in memory while it lasts. */
  isRequest: boolean;
  holdsObject: boolean;
  /** Ceilings: what design §10 allows, rows for each and for each second that it lasts, and dollars for a million. */
  calls: number;
  rows: number;
  rowsPerSecond?: number;
  dollars?: number;
}

const turn = { isRequest: true, holdsObject: true, calls: 3 };
const kinds: readonly Kind[] = [
  {
    title: 'metered request, a burst',
    count: (bundle, origin) => countBilled(counted, burst, bundle, origin),
    ...{ isRequest: true, holdsObject: false, calls: 2, rows: 2.1 },
  },
  {
    title: 'metered request, a stream of 20 s',
    shown: { name: 'metered streams of 20 s', flag: 'streams' },
    count: (bundle, origin) => countBilled(counted, paced500, bundle, origin),
    // Few of them share what their account writes each minute.
    ...{ isRequest: true, holdsObject: false, calls: 2, rows: 2.3, dollars: 5 },
  },
  {
    title: 'turn, 500 events in one write',
    count: (bundle, origin) => countBilled(countedTurn, burst500, bundle, origin),
    ...{ ...turn, rows: 11 },
  },
  {
    title: 'turn, 500 events in 20 s',
    shown: { name: 'turns of 20 s', flag: 'turns' },
    count: (bundle, origin) => countBilled(countedTurn, paced500, bundle, origin),
    ...{ ...turn, rows: 18, dollars: 51 },
  },
  {
    title: 'turn, 500 events spread out',
    count: (bundle, origin) => countBilled(countedTurn, spread500, bundle, origin),
    ...{ ...turn, rows: 14, rowsPerSecond: 1 },
  },
  {
    title: 'step of a run, with one call',
    shown: { name: 'steps of runs', flag: 'steps' },
    count: (bundle) => countStep(bundle),
    ...{ isRequest: false, holdsObject: false, calls: 2, rows: 8, dollars: 9 },
  },
  {
    title: 'webhook whose id is signed',
    shown: { name: 'webhooks', flag: 'events' },
    count: (bundle, origin) => countEvent(bundle, origin, 'standard'),
    ...{ isRequest: true, holdsObject: false, calls: 5, rows: 6.1, dollars: 8 },
  },
  {
    title: 'webhook of GitHub',
    count: (bundle, origin) => countEvent(bundle, origin, 'github'),
    ...{ isRequest: true, holdsObject: false, calls: 5, rows: 7.1, dollars: 9 },
  },
];

/** A kind of work with what one of it is billed for. */
export type Billed = Omit<Kind, 'count'> & NamedCounts & { seconds?: number };

/** Counts all kinds. @param tell is told what is being counted */
export async function countKinds(bundle: Bundle, origin: string, tell: (text: string) => void): Promise<Billed[]> {
  const all: Billed[] = [];
  for (const { count, ...kind } of kinds) {
    tell(`counting: ${kind.title}`);
    all.push({ ...kind, ...(await count(bundle, origin)) });
  }
  return all;
}

/** @returns what a million cost, item by item, in dollars */
function bill({ isRequest, holdsObject, cpuMs, objectCalls, rowsWritten, kvReads, seconds = 0 }: Billed) {
  return {
    requests: isRequest ? PRICES.request : 0,
    cpu: cpuMs * PRICES.cpuMs,
    calls: objectCalls * PRICES.objectCall,
    rows: rowsWritten * PRICES.row,
    kv: kvReads * PRICES.kvRead,
    memory: holdsObject ? seconds * OBJECT_GB * PRICES.gbSecond : 0,
  };
}

function dollarsOf(billed: Billed): number {
  return Object.values(bill(billed)).reduce((sum, dollars) => sum + dollars, 0);
}

function mostRows({ rows, rowsPerSecond = 0, seconds = 0 }: Billed): number {
  return rows + rowsPerSecond * seconds;
}

/** @returns whether a ceiling is exceeded */
export function isOver(billed: Billed): boolean {
  const { objectCalls, calls, rowsWritten, dollars = Number.POSITIVE_INFINITY } = billed;
  return objectCalls > calls + SHARED_CALLS || rowsWritten > mostRows(billed) || dollarsOf(billed) > dollars;
}

/** @returns the table of what is billed, and the table of the statements that write the rows */
export function billedTable(all: readonly Billed[]): string {
  const rows = all.map((billed) => {
    const { title, seconds, cpuMs, objectCalls, calls, rowsWritten, dollars } = billed;
    const cost = dollarsOf(billed);
    return [
      `  ${title}`,
      seconds === undefined ? '' : number(seconds),
      number(cpuMs),
      number(objectCalls),
      verdict(String(calls + SHARED_CALLS), objectCalls > calls + SHARED_CALLS),
      number(rowsWritten),
      verdict(number(mostRows(billed)), rowsWritten > mostRows(billed)),
      `$${cost.toFixed(2)}`,
      dollars === undefined ? '' : verdict(`$${dollars}`, cost > dollars),
    ];
  });
  const written = all.flatMap(({ title, rowsBy }) => [
    [`  ${title}`],
    ...Object.entries(rowsBy)
      .toSorted(([, a], [, b]) => b - a)
      .map(([by, count]) => ['', number(count), by]),
  ]);
  return [
    align([
      ['of each, until an hour later', 'seconds', 'CPU ms', 'object calls', '', 'rows', '', 'a million cost', ''],
      ...rows,
    ]),
    align([['rows by statement', 'rows', ''], ...written]),
  ].join('\n\n');
}

/** How many there are of each kind, and for turns how long each takes, in seconds. */
export type Mix = Partial<Record<'streams' | 'steps' | 'events', number>> & {
  turns?: readonly { seconds: number; count: number }[];
};

/** @returns the turns that a flag names: `20s=1000000,5s=2000000` @throws Error for anything else */
export function turnsIn(flag: string): { seconds: number; count: number }[] {
  return flag.split(',').map((part) => {
    const [, seconds, count] = /^(\d+(?:\.\d+)?)s=(\d+)$/.exec(part.trim()) ?? [];
    if (seconds === undefined) throw new Error('--turns takes lengths with counts, as in 20s=1000000,5s=2000000');
    return { seconds: Number(seconds), count: Number(count) };
  });
}

/** @returns how often a stream that lasts so many seconds stores what it has shown */
function storesIn(seconds: number): number {
  let stores = 2;
  // What comes just before the end is stored with it.
  for (let at = storeAfterMs(0); at < seconds * 1_000 - 500; at += storeAfterMs(at)) stores += 1;
  return stores;
}

/** @returns a turn of another length: what it stores follows from the code, and its CPU from those that were measured. */
function lasting(seconds: number, all: readonly Billed[]): Billed {
  const find = (title: string) => all.find((each) => each.title === title) as Billed;
  const [atOnce, paced] = [find('turn, 500 events in one write'), find('turn, 500 events in 20 s')];
  const { seconds: measured = 20 } = paced;
  return {
    ...paced,
    seconds,
    cpuMs: atOnce.cpuMs + ((paced.cpuMs - atOnce.cpuMs) * seconds) / measured,
    rowsWritten: paced.rowsWritten + storesIn(seconds) - storesIn(measured),
  };
}

/** @returns the table of what a mix of work costs */
export function mixTable(mix: Mix, all: readonly Billed[]): string {
  const { turns = [], ...others } = mix;
  const lines: { title: string; count: number; each: number }[] = turns.map(({ seconds, count }) => ({
    ...{ title: `turns of ${seconds} s`, count, each: dollarsOf(lasting(seconds, all)) },
  }));
  for (const [flag, count] of Object.entries(others)) {
    const billed = all.find(({ shown }) => shown?.flag === flag);
    if (billed?.shown) lines.push({ title: billed.shown.name, count, each: dollarsOf(billed) });
  }
  const total = lines.reduce((sum, { count, each }) => sum + (count * each) / 1e6, 0);
  return align([
    ['this mix', 'how many', 'a million cost', 'in all'],
    ...lines.map(({ title, count, each }) => [
      `  ${title}`,
      String(count),
      `$${each.toFixed(2)}`,
      `$${((count * each) / 1e6).toFixed(2)}`,
    ]),
    ['  together', '', '', `$${total.toFixed(2)}`],
  ]);
}

/** Writes the table of `docs/cost.md` anew from what was counted. */
export async function writeCosts(all: readonly Billed[]): Promise<void> {
  const shown = all.filter((billed) => billed.shown);
  const bills = shown.map(bill);
  const list = (value: (billed: Billed) => string) => shown.map(value).join(', ');
  const money = (dollars: number) => (dollars === 0 ? '' : dollars < 0.01 ? 'under $0.01' : `$${dollars.toFixed(2)}`);
  const line = (title: string, item: keyof (typeof bills)[number]) => [title, ...bills.map((of) => money(of[item]))];
  const rows = [
    ['what', ...shown.map((billed) => billed.shown?.name ?? '')],
    line('requests', 'requests'),
    line(`CPU: ${list(({ cpuMs }) => cpuMs.toFixed(cpuMs < 10 ? 1 : 0))} ms`, 'cpu'),
    line(`calls of objects: ${list(({ objectCalls }) => String(Math.round(objectCalls)))}`, 'calls'),
    line(`rows written: ${list(({ rowsWritten }) => rowsWritten.toFixed(1))}`, 'rows'),
    line('KV, read', 'kv'),
    line('the object in memory for the 20 s of a turn', 'memory'),
    ['together', ...shown.map((billed) => money(dollarsOf(billed)))],
  ];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  const cells = (row: readonly string[]) => `| ${row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |`;
  const [head = [], ...others] = rows;
  const table = [cells(head), `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...others.map(cells)];
  const text = await readFile(COST_FILE, 'utf8');
  const start = text.indexOf('\n|', text.indexOf(COST_HEADING)) + 1;
  const end = text.indexOf('\n\n', start);
  if (!text.includes(COST_HEADING) || start === 0) throw new Error(`docs/cost.md has no table below "${COST_HEADING}"`);
  await writeFile(COST_FILE, text.slice(0, start) + table.join('\n') + text.slice(end));
}
