import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { counted, countedTurn, headersOfCaller, metered } from './contenders.ts';
import { type Counts, countDuring } from './counts.ts';
import { type Bundle, type Server, startServer } from './server.ts';
import { align, number } from './table.ts';
import { answerHeaders, burst, requestBody } from './workloads.ts';

/** How requests come. */
interface Traffic {
  title: string;
  accounts: number;
  /** Milliseconds from a request of an account to its next one; absent: as soon as the last one has ended. */
  everyMs?: number | undefined;
  /** In how many conversations each account takes its turns; absent: without a conversation. */
  conversations?: number | undefined;
  /** Requests of each account. */
  requests: number;
  /** How many requests of an account may be in flight where each comes as soon as another has ended. */
  inFlight?: number;
}

const BODY = requestBody(burst);
const JSON_HEADERS = { 'content-type': 'application/json', 'anthropic-version': '2023-06-01' };
const EVERY_MS = 3_000;
const CROWDS = [1, 10, 100, 1_000];
const CONVERSATIONS = 64;

const traffics: Traffic[] = [
  ...CROWDS.map((accounts) => ({
    title: `${accounts} ${accounts === 1 ? 'account' : 'accounts'}, a request each 3 s`,
    accounts,
    everyMs: EVERY_MS,
    requests: 3,
  })),
  { title: '100 accounts, a turn each 3 s', accounts: 100, everyMs: EVERY_MS, conversations: 1, requests: 3 },
  { title: '1 account, 1 request after the other', accounts: 1, requests: 800, inFlight: 1 },
  { title: '1 account, 8 requests at once', accounts: 1, requests: 1_600, inFlight: 8 },
  { title: '1 account, 8 turns at once', accounts: 1, conversations: CONVERSATIONS, requests: 800, inFlight: 8 },
];

const warming: Traffic = { title: 'warming', accounts: 1, requests: 2_400, inFlight: 8 };

/** What a request costs in some traffic. */
export interface AccountFigures extends Pick<Counts, 'objectCalls' | 'rowsWritten'> {
  title: string;
  /** Milliseconds of CPU for each request; undefined where it cannot be read. */
  cpuMs: number | undefined;
}

/** Measures requests of many accounts that come now and then, and of one account that never rests. */
export async function measureAccounts(
  bundles: { deployed: Bundle; counted: Bundle },
  upstream: string,
): Promise<AccountFigures[]> {
  const figures: AccountFigures[] = [];
  for (const traffic of traffics) {
    const isTurn = traffic.conversations !== undefined;
    const counting = await startServer(isTurn ? countedTurn : counted, bundles.counted, upstream);
    await send(counting, beginningOf(traffic));
    const all = traffic.accounts * traffic.requests;
    const { objectCalls, rowsWritten } = await countDuring(counting, all, () => send(counting, traffic));
    await counting.stop();
    figures.push({
      title: traffic.title,
      objectCalls,
      rowsWritten,
      cpuMs: await cpuOf(traffic, bundles.deployed, upstream),
    });
  }
  return figures;
}

async function cpuOf(traffic: Traffic, bundle: Bundle, upstream: string): Promise<number | undefined> {
  const server = await startServer(metered, bundle, upstream);
  // The runtime's compiler learns what is hot.
  await send(server, warming);
  await send(server, beginningOf(traffic));
  await sleep(500);
  const before = server.cpuMs();
  await send(server, traffic);
  await sleep(500);
  const after = server.cpuMs();
  await server.stop();
  if (before === undefined || after === undefined) return undefined;
  return (after - before) / (traffic.accounts * traffic.requests);
}

/** @returns one request to each account or conversation, so that it is awake, and none of it new */
function beginningOf({ title, accounts, conversations }: Traffic): Traffic {
  return { title, accounts, conversations, requests: conversations ?? 1 };
}

/** Sends requests of all accounts. Those that come now and then are spread evenly over the time between two. */
async function send(server: Server, { accounts, everyMs, conversations, requests, inFlight = 1 }: Traffic) {
  const began = performance.now();
  const ask = async (account: number, headers: Record<string, string>, n: number) => {
    const conversation =
      conversations === undefined ? {} : { 'sluice-conversation': `c-${account}-${n % conversations}` };
    await post(server.origin, { ...headers, ...conversation, ...answerHeaders(burst) });
  };
  const client = async (account: number, first: number) => {
    const headers = await headersOfCaller(`bench-${account}`);
    for (let n = first; n < requests; n += inFlight) {
      if (everyMs !== undefined)
        await sleep(Math.max(1, began + everyMs * (n + account / accounts) - performance.now()));
      await ask(account, headers, n);
    }
  };
  const clients = Array.from({ length: accounts * inFlight }, (_, n) => client(Math.floor(n / inFlight), n % inFlight));
  await Promise.all(clients);
}

/** Sends a request by a connection of its own, as those who ask now and then do. */
function post(origin: string, headers: Record<string, string>): Promise<void> {
  return new Promise((resolve, reject) => {
    const posted = request(`${origin}/v1/messages`, {
      method: 'POST',
      agent: false,
      headers: { ...headers, ...JSON_HEADERS },
    });
    posted.on('response', (response) => {
      text(response).then((answer) => {
        if (answer.includes('event: message_stop')) resolve();
        else reject(new Error(`status ${response.statusCode}: ${answer.slice(0, 200)}`));
      }, reject);
    });
    posted.on('error', reject);
    posted.end(BODY);
  });
}

export function accountTable(figures: readonly AccountFigures[]): string {
  return align([
    ['per request', 'object calls', 'rows written', 'CPU ms'],
    ...figures.map(({ title, objectCalls, rowsWritten, cpuMs }) => [
      `  ${title}`,
      number(objectCalls),
      number(rowsWritten),
      cpuMs === undefined ? 'n/a' : number(cpuMs),
    ]),
  ]);
}
