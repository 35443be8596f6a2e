/** What a million of each kind of work cost by the price list of Workers Paid: what is billed until an hour later. */
import { counted, countedTurn } from './contenders.ts';
import { type Counts, countBilled } from './counts.ts';
import { countStep } from './runs.ts';
import { markdown } from './table.ts';
import { countEvent } from './webhooks.ts';
import { paced500 } from './workloads.ts';

/** Dollars for a million, beyond what the plan includes. Source: the price list of Workers Paid, as `docs/cost.md` has it. */
const PRICES = { request: 0.3, cpuMs: 0.02, objectCall: 0.15, row: 1, kvRead: 0.5, gbSecond: 12.5 };
/** Each object in memory counts as 128 MB. */
const OBJECT_GB = 0.125;

interface Kind {
  title: string;
  count(script: string, origin: string): Promise<Counts & { seconds?: number }>;
  /** Whether it is a request to the Worker, and whether an object is in memory while it lasts. */
  isRequest: boolean;
  holdsObject: boolean;
}

const turn = { isRequest: true, holdsObject: true };
const KINDS: readonly Kind[] = [
  {
    title: 'metered streams of 20 s',
    count: (script, origin) => countBilled(counted, paced500, script, origin),
    isRequest: true,
    holdsObject: false,
  },
  { title: 'turns of 20 s', count: (script, origin) => countBilled(countedTurn, paced500, script, origin), ...turn },
  { title: 'steps of runs', count: (script) => countStep(script), isRequest: false, holdsObject: false },
  { title: 'webhooks', count: countEvent, isRequest: true, holdsObject: false },
];

/** Counts all kinds. @param tell is told what is being counted @returns the table of `docs/cost.md` */
export async function costTable(script: string, origin: string, tell: (text: string) => void): Promise<string> {
  const all: (Kind & Counts & { seconds?: number })[] = [];
  for (const kind of KINDS) {
    tell(`counting: ${kind.title}`);
    all.push({ ...kind, ...(await kind.count(script, origin)) });
  }
  const bills = all.map(({ isRequest, holdsObject, cpuMs, objectCalls, rowsWritten, kvReads, seconds = 0 }) => ({
    requests: isRequest ? PRICES.request : 0,
    cpu: cpuMs * PRICES.cpuMs,
    calls: objectCalls * PRICES.objectCall,
    rows: rowsWritten * PRICES.row,
    kv: kvReads * PRICES.kvRead,
    memory: holdsObject ? seconds * OBJECT_GB * PRICES.gbSecond : 0,
  }));
  const money = (dollars: number) => (dollars === 0 ? '' : dollars < 0.01 ? 'under $0.01' : `$${dollars.toFixed(2)}`);
  const line = (title: string, item: keyof (typeof bills)[number]) => [
    title,
    ...bills.map((bill) => money(bill[item])),
  ];
  const list = (name: keyof Counts, digits: number) => all.map((one) => one[name].toFixed(digits)).join(', ');
  return markdown([
    ['charge', ...all.map(({ title }) => title)],
    line('requests', 'requests'),
    line(`CPU: ${list('cpuMs', 1)} ms`, 'cpu'),
    line(`calls to Durable Objects: ${list('objectCalls', 0)}`, 'calls'),
    line(`rows written: ${list('rowsWritten', 1)}`, 'rows'),
    line('KV reads', 'kv'),
    line('the Durable Object in memory for 20 s', 'memory'),
    ['total', ...bills.map((bill) => money(Object.values(bill).reduce((sum, dollars) => sum + dollars, 0)))],
  ]);
}
