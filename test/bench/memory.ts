/** What requests make an isolate hold, as the runtime's inspector tells it: the heap, and the bytes beside it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { mintToken } from '../../src/edge/gate/auth/mint.ts';
import { headersOfCaller, metered, SIGNING_SECRET } from './contenders.ts';
import { Inspector } from './inspector.ts';
import { nextMessage, startChild } from './processes.ts';
import { startRunServers } from './runs.ts';
import { type Bundle, startServer } from './server.ts';
import { align, verdict } from './table.ts';
import type { Uploaded, UploadOrder } from './uploads.ts';

/** Of an isolate's 128 MB. In bytes, as all here; a MB is 1,000,000 of them. */
const MOST_EVER = 110e6;
/**
 * With the longest steps that there are. One of them alone is text of 11 MB that is read, joined and sent in one stretch, and
 * meanwhile nothing can be collected: the runtime collects it when it is short of memory.
 */
const MOST_OF_LONGEST_STEPS = 128e6;
const MOST_WITH_OPEN_ANSWERS = 60e6;
/** A buffer of 64 kB for each of 500 would be more; and for each of 300 turns. */
const MOST_OF_SHORT_PROMPTS = 30e6;
/** Until what an answer leaves behind is settled. */
const AFTERWORK_MS = 1_000;

/** What a tool answers, as its address says it, and how many calls of it each run makes at once. */
interface Tools {
  answer: string;
  calls: number;
}

interface Scenario {
  title: string;
  order: Pick<UploadOrder, 'body' | 'requests' | 'holds' | 'inTurn'> &
    Partial<Pick<UploadOrder, 'headers' | 'saysLast' | 'isTurn'>>;
  /** Whether the requests name a prefix of 20 MB. */
  prefixed?: boolean;
  /** What the tool of runs answers. */
  tools?: Tools;
  /** How many must be answered at once; the others may be told to come again. */
  atOnce: number;
  /** What may be held while the answers are open, after a collection. */
  mostAlive?: number;
  /** What may be held at any moment. Default: what all others may. */
  mostEver?: number;
}

const message = (bytes: number) => ({ kind: 'message', bytes }) as const;

const twoCallers = [await headersOfCaller('bench-1'), await headersOfCaller('bench-2')];

const scenarios: Scenario[] = [
  {
    title: '40 open answers to 2 MB prompts',
    order: { body: message(2e6), requests: 40, holds: true },
    atOnce: 0,
    mostAlive: MOST_WITH_OPEN_ANSWERS,
  },
  {
    title: '500 open answers to short prompts',
    order: { body: message(400), requests: 500, holds: true },
    atOnce: 500,
    mostAlive: MOST_OF_SHORT_PROMPTS,
  },
  ...[
    { title: '300 open turns before their first delta', headers: { 'x-bench': 'open' } },
    { title: '300 open turns in their answer', headers: { 'x-bench': 'begun' } },
  ].map(
    ({ title, headers }): Scenario => ({
      title,
      order: { body: message(400), requests: 300, holds: true, isTurn: true, headers },
      atOnce: 300,
      mostAlive: MOST_OF_SHORT_PROMPTS,
    }),
  ),
  {
    title: '8 bodies of 5 MB at once, of two callers',
    order: { body: message(5e6), requests: 8, holds: false, inTurn: twoCallers },
    atOnce: 8,
  },
  { title: '8 bodies of 5 MB at once, of one', order: { body: message(5e6), requests: 8, holds: false }, atOnce: 6 },
  { title: '1 body of 31 MB', order: { body: message(31e6), requests: 1, holds: false }, atOnce: 1 },
  { title: '8 bodies of 31 MB at once', order: { body: message(31e6), requests: 8, holds: false }, atOnce: 1 },
  {
    title: 'a 20 MB prefix, read 3 times at once',
    order: { body: message(400), requests: 3, holds: false },
    prefixed: true,
    atOnce: 1,
  },
  ...[
    { title: '50 runs with 2 results of 1 MB', requests: 50, tools: { answer: 'text=1000000', calls: 2 } },
    {
      ...{ title: '40 runs with 11 results of 1 MB', requests: 40, tools: { answer: 'text=1000000', calls: 11 } },
      mostEver: MOST_OF_LONGEST_STEPS,
    },
    {
      ...{ title: '40 runs with 3 images of 3.75 MB', requests: 40, tools: { answer: 'image=3750000', calls: 3 } },
      mostEver: MOST_OF_LONGEST_STEPS,
    },
  ].map(
    ({ title, requests, tools, ...most }): Scenario => ({
      ...{ title, ...most },
      // The address is that of the child that measures this scenario.
      order: { body: { kind: 'run', tool: '' }, requests, holds: false },
      tools,
      atOnce: requests,
    }),
  ),
];

export interface MemoryRow {
  title: string;
  requests: number;
  /** How many were answered at once, and in the end. */
  atOnce: number;
  answered: number;
  leastAtOnce: number;
  idleBytes: number;
  aliveBytes: number;
  peakBytes: number;
  mostAlive: number | undefined;
  mostEver: number;
}

/** Has each kind of request sent to a runtime of its own, and looks at its memory meanwhile. */
export async function measureMemory(bundle: Bundle, upstream: string, named = ''): Promise<MemoryRow[]> {
  const rows: MemoryRow[] = [];
  for (const scenario of scenarios.filter(({ title }) => title.includes(named))) {
    rows.push(
      await (scenario.tools ? measureRuns(scenario, scenario.tools, bundle) : measure(scenario, bundle, upstream)),
    );
  }
  return rows;
}

/** The same for runs, with an upstream that calls tools and a server of these. */
async function measureRuns(scenario: Scenario, tools: Tools, bundle: Bundle): Promise<MemoryRow> {
  const { origin, vars, stop } = await startRunServers();
  // What all of them store is more than one account may.
  const inTurn = await Promise.all(
    ['bench', 'bench-2'].map(async (account) => {
      const { token } = await mintToken(SIGNING_SECRET, { account, scopes: ['messages', 'tools'] });
      return { authorization: `Bearer ${token}` };
    }),
  );
  const headers = { 'x-bench': `2x${tools.calls}` };
  const tool = `${origin}/tool?${tools.answer}`;
  const saysLast = `${tools.calls} results have come.`;
  const order = { ...scenario.order, body: { kind: 'run', tool }, headers, inTurn, saysLast } as const;
  const row = await measure({ ...scenario, order }, bundle, origin, vars);
  stop();
  return row;
}

async function measure(scenario: Scenario, bundle: Bundle, upstream: string, vars = {}): Promise<MemoryRow> {
  const { title, order, prefixed, atOnce: leastAtOnce, mostAlive, mostEver = MOST_EVER } = scenario;
  const contender = { ...metered, vars: { ...metered.vars, ...vars } };
  let server = await startServer(contender, bundle, upstream, { inspected: true });
  const uploads = startChild(new URL('uploads.ts', import.meta.url));
  const send = async (more: Scenario['order'] & Partial<UploadOrder>) => {
    const { origin } = server;
    const headers = { ...metered.headers(0, 0), 'x-bench': more.holds ? 'open' : 'burst' };
    const whole: UploadOrder = {
      origin,
      path: metered.path,
      method: 'POST',
      ...more,
      headers: { ...headers, ...more.headers },
    };
    uploads.send(whole);
    const answer = await nextMessage<{ result: Uploaded } | { error: string }>(uploads);
    if ('error' in answer) throw new Error(`${title}: ${answer.error}`);
    return answer.result;
  };
  if (prefixed) {
    const storing = {
      path: '/prefixes/bench',
      method: 'PUT',
      body: { kind: 'prefix', bytes: 19.9e6 },
    } as const;
    const { last } = await send({ ...storing, requests: 1, holds: false });
    if (last[0] !== 200) throw new Error(`the prefix could not be stored: ${last[0]}`);
    // Another isolate than the one that has stored it, which may remember it.
    await server.stop();
    server = await startServer(contender, bundle, upstream, { inspected: true, disk: server.disk });
  }
  // What is made once, by whatever request comes first, is none of theirs.
  await send({
    body: message(400),
    requests: 1,
    holds: false,
    headers: scenario.tools ? { 'x-bench': '1x0' } : {},
  });
  const inspector = await Inspector.connect(server.inspector as URL);
  const wake = () => fetch(`${server.origin}/health`);
  const idleBytes = await inspector.alive(wake);
  const { result, peakBytes } = await inspector.peakDuring(async () => {
    const sent = await send({ ...order, ...(prefixed ? { headers: { 'sluice-prefix': 'bench' } } : {}) });
    if (order.holds) await sleep(AFTERWORK_MS);
    return sent;
    // Stored and shown, results are text. The runtime lets text lie until it is short of memory, which it never is here: it
    // has as much as the machine. So what nobody needs any more is collected for it.
  }, scenario.tools !== undefined);
  const { first, last } = result;
  const aliveBytes = await inspector.alive(wake);
  inspector.close();
  uploads.disconnect();
  await server.stop();
  const wrong = [...first, ...last].find((status) => status !== 200 && status !== 503);
  if (wrong !== undefined) throw new Error(`${title}: an answer has status ${wrong}`);
  return {
    title,
    requests: order.requests,
    atOnce: first.filter((status) => status === 200).length,
    answered: last.filter((status) => status === 200).length,
    leastAtOnce,
    idleBytes,
    aliveBytes,
    peakBytes,
    mostAlive,
    mostEver,
  };
}

export function isOver({
  requests,
  atOnce,
  answered,
  leastAtOnce,
  aliveBytes,
  peakBytes,
  mostAlive,
  mostEver,
}: MemoryRow): boolean {
  return (
    answered < requests ||
    atOnce < leastAtOnce ||
    peakBytes > mostEver ||
    (mostAlive !== undefined && aliveBytes > mostAlive)
  );
}

export function memoryTable(rows: MemoryRow[]): string {
  const mb = (bytes: number) => (bytes / 1e6).toFixed(1);
  return align([
    ['memory, in MB', 'answered at once', 'ceiling', 'in the end', 'idle', 'alive after', 'ceiling', 'peak', 'ceiling'],
    ...rows.map(
      ({ title, requests, atOnce, answered, leastAtOnce, idleBytes, aliveBytes, peakBytes, mostAlive, mostEver }) => [
        `  ${title}`,
        String(atOnce),
        leastAtOnce === 0 ? '' : `≥ ${leastAtOnce} ${atOnce < leastAtOnce ? 'UNDER' : 'ok'}`,
        `${answered} of ${requests}`,
        mb(idleBytes),
        mb(aliveBytes),
        mostAlive === undefined ? '' : verdict(mb(mostAlive), aliveBytes > mostAlive),
        mb(peakBytes),
        verdict(mb(mostEver), peakBytes > mostEver),
      ],
    ),
  ]);
}
