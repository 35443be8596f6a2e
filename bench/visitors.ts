/** What a visitor is billed for, from the first request until nothing is left of them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { mintToken } from '../src/auth/mint.ts';
import { type Contender, counted, SIGNING_SECRET } from './contenders.ts';
import { countDuring, type NamedCounts, passHour } from './counts.ts';
import { type Bundle, type Server, startServer } from './server.ts';

const VISITORS = 16;
const TURNS = 3;
/** Refusals that are counted, and those before them. */
const [REFUSED, WARMING] = [2_000, 500];
/** How long they are known, in seconds. A day after the last turn the account ends. */
const SECONDS = 3_600;
const [HOUR_MS, SHORT_MS] = [3_600_000, 5_000];

/** Longer than an account keeps what it has leased and does not use. */
const IDLE_MS = 4_000;

const ORIGIN = 'https://shop.example';
const visiting: Contender = {
  ...counted,
  name: 'counted visitors',
  vars: {
    ...counted.vars,
    ALLOWED_ORIGINS: ORIGIN,
    VISITORS_WITHOUT_TURNSTILE: 'true',
    VISITORS: JSON.stringify({
      only: { agents: ['bench'], origins: [ORIGIN] },
      pool: { usd_per_day: 100 },
      seconds: SECONDS,
      turnstile: false,
    }),
  },
};

async function asked(server: Server, path: string, headers: Record<string, string>, body: object, method = 'POST') {
  const response = await fetch(`${server.origin}${path}`, {
    method,
    headers: { 'content-type': 'application/json', origin: ORIGIN, ...headers },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
  return text;
}

let arrived = 0;

/** Has somebody come, and ask in a conversation of their own. */
async function visit(server: Server): Promise<void> {
  arrived += 1;
  const address = { 'cf-connecting-ip': `203.0.113.${arrived}` };
  const { token } = JSON.parse(await asked(server, '/tokens/visitor', address, {})) as { token: string };
  for (let turn = 0; turn < TURNS; turn += 1) {
    const headers = { authorization: `Bearer ${token}` };
    const messages = [{ role: 'user', content: `What is number ${turn}?` }];
    await asked(server, '/messages', headers, { agent: 'bench', conversation: 'page', messages });
  }
}

/** Has more than a day pass, in which each of them ends. @param server of `counted.ts`, which can turn the clocks */
async function passDay(server: Server): Promise<void> {
  // What is leased is given back by a timer, which no clock turns.
  await sleep(IDLE_MS);
  await passHour(server);
  const later = async (ms: number) => await (await fetch(`${server.origin}/later?ms=${ms}`)).text();
  for (let hours = 0; hours < 26; hours += 1) await later(HOUR_MS);
  for (let steps = 0; steps < 20; steps += 1) await later(SHORT_MS);
}

/** @returns what a visitor with three turns of one burst is billed for, birth and end of all objects included */
export async function countVisitor(bundle: Bundle, origin: string): Promise<NamedCounts> {
  const server = await startServer(visiting, bundle, `${origin}/burst500`);
  const { token } = await mintToken(SIGNING_SECRET, { account: 'root', scopes: ['admin'] });
  const agent = { model: 'claude-haiku-5-5', max_tokens: 1_024, system: 'You are a bench.' };
  await asked(server, '/agents/bench', { authorization: `Bearer ${token}` }, agent, 'PUT');
  // The first one makes what all of them share.
  await visit(server);
  await passDay(server);
  const all = async () => {
    for (let index = 0; index < VISITORS; index += 1) await visit(server);
  };
  const counts = await countDuring(server, VISITORS, all, () => passDay(server));
  await server.stop();
  return counts;
}

/** @returns what a visitor's request is billed for who is refused by the address, because many came from there */
export async function countRefused(bundle: Bundle, origin: string): Promise<NamedCounts> {
  const refusing = { ...visiting, vars: { ...visiting.vars, BENCH_REFUSES: 'true' } };
  const server = await startServer(refusing, bundle, origin);
  const init = {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'cf-connecting-ip': '203.0.113.1', origin: ORIGIN },
    body: '{}',
  };
  const come = async (times: number) => {
    for (let index = 0; index < times; index += 1) {
      const response = await fetch(`${server.origin}/tokens/visitor`, init);
      await response.arrayBuffer();
      if (response.status !== 429) throw new Error(`let in: ${response.status}`);
    }
  };
  await come(WARMING);
  const counts = await countDuring(server, REFUSED, () => come(REFUSED));
  await server.stop();
  return counts;
}
