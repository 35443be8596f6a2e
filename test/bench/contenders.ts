import { mintToken } from '../../src/edge/gate/auth/mint.ts';
import type { Ceiling } from './figures.ts';
import { WOKEN_AFTER } from './workloads.ts';

/** The Workers that are measured, each beside the bare one. Another one is another entry. */

/** A Worker, what is sent to it, and what of it is judged. */
export interface Contender {
  name: string;
  path: string;
  /** What this contender's nth request carries besides the workload's own headers, in the measurement of that number. */
  headers: (n: number, measurement: number) => Record<string, string>;
  /** So many requests come before each measurement and are none of it: what they begin is gone on with. */
  begins?: number;
  /** The workloads that it is measured with; absent: all. */
  workloads?: string[];
  /** What design §10 allows it. */
  ceilings: Ceiling[];
  /** One of its own, or the one that wrangler.toml describes. */
  worker: { file: URL; configured?: boolean } | 'wrangler.toml';
  /** Settings besides `ANTHROPIC_BASE_URL` and those of wrangler.toml. */
  vars: Record<string, string>;
}

const apiKey = (): Record<string, string> => ({ 'x-api-key': 'bench' });

export const bare: Contender = {
  name: 'bare',
  worker: { file: new URL('workers/bare.ts', import.meta.url) },
  path: '/v1/messages',
  headers: apiKey,
  vars: {},
  ceilings: [],
};

/** A deployment's own way: a token that is verified, and nothing of development mode. */
export const SIGNING_SECRET = 'the bench signs with this, and nobody else does';
/** @returns the headers by which a caller of this account is known */
export async function headersOfCaller(account: string): Promise<Record<string, string>> {
  const { token } = await mintToken(SIGNING_SECRET, { account, scopes: ['messages', 'prefixes'] });
  return { authorization: `Bearer ${token}` };
}
const ofBench = await headersOfCaller('bench');
const deployed = {
  path: '/v1/messages',
  headers: (): Record<string, string> => ofBench,
  vars: { SIGNING_SECRET, ANTHROPIC_API_KEY: 'bench' },
};

/** So many conversations take turns that none is asked while it still answers. */
const conversing = (conversations: number, of = 'bench') => ({
  ...deployed,
  headers: (n: number): Record<string, string> => ({
    ...deployed.headers(),
    'sluice-conversation': `${of}-${n % conversations}`,
  }),
});

/** Each measurement has conversations of its own: otherwise they were the longer, the more had been measured before. */
const beginning = (conversations: number) => ({
  ...deployed,
  begins: conversations,
  headers: (n: number, measurement: number) => conversing(conversations, `bench-${measurement}`).headers(n),
});

const firstEventAdded = (max: number): Ceiling[] =>
  ['burst', 'paced'].map((workload) => ({ workload, figure: 'firstEventP50', of: 'added', max }));

/** No event is held back where they come as tokens do. */
const delayAdded = (max: number): Ceiling[] =>
  ['tokens40', 'tokens100'].map((workload) => ({ workload, figure: 'delayP99', of: 'added', max }));

export const contenders: Contender[] = [
  // A relay can hardly save what is between it and the bare Worker.
  {
    ...bare,
    name: 'least relay',
    worker: { file: new URL('workers/least-relay.ts', import.meta.url) },
    workloads: ['burst'],
  },
  // What a Worker can do at least that reads what it passes on: streams as they come in life stand beside it.
  {
    ...bare,
    name: 'late copy',
    worker: { file: new URL('workers/late-copy.ts', import.meta.url) },
    workloads: ['live'],
  },
  {
    ...deployed,
    name: 'relay',
    worker: { file: new URL('workers/unmetered.ts', import.meta.url) },
    ceilings: [
      { workload: 'burst', figure: 'cpu', of: 'ratio', max: 2 },
      { workload: 'flushed', figure: 'cpu', of: 'ratio', max: 1.8, goal: 1.2 },
      ...firstEventAdded(1),
      ...delayAdded(2),
    ],
  },
  {
    ...deployed,
    name: 'metered',
    worker: 'wrangler.toml',
    ceilings: [
      { workload: 'burst', figure: 'cpu', of: 'ratio', max: 3 },
      { workload: 'flushed', figure: 'cpu', of: 'ratio', max: 2, goal: 1.2 },
      { workload: 'live', figure: 'cpu', of: 'ratio', max: 1.25 },
      ...firstEventAdded(1),
      ...delayAdded(2),
    ],
  },
  // An account with a limit in USD. The bare Worker passes the same events on, where this one puts the message together.
  {
    ...deployed,
    name: 'riding',
    worker: 'wrangler.toml',
    vars: { ...deployed.vars, DEFAULT_LIMITS: '{"usd_per_day":1000000}' },
    workloads: ['ridden'],
    ceilings: [{ workload: 'ridden', figure: 'cpu', of: 'ratio', max: 1 }],
  },
  {
    ...beginning(128),
    name: 'turn',
    worker: 'wrangler.toml',
    workloads: ['burst', 'flushed', 'paced', 'live'],
    ceilings: [
      { workload: 'burst', figure: 'cpu', of: 'ratio', max: 6 },
      { workload: 'flushed', figure: 'cpu', of: 'ratio', max: 2.5 },
      { workload: 'live', figure: 'cpu', of: 'ratio', max: 3.2 },
      ...firstEventAdded(3),
    ],
  },
];

/** In a round so many objects are woken. */
export const WAKES = 200;
const beginningTurns = {
  ...deployed,
  worker: 'wrangler.toml',
  // A run of many rounds begins more than an account may keep.
  vars: { ...deployed.vars, DEFAULT_LIMITS: '{"conversations":1000000}' },
  ceilings: [],
} satisfies Partial<Contender>;
/** Each turn is the first one of its conversation, whose object is made for it. */
export const newTurn: Contender = {
  ...beginningTurns,
  name: 'new',
  headers: (n) => ({ ...deployed.headers(), 'sluice-conversation': `new-${n}` }),
};
/** Turns of conversations whose objects were evicted since: a round's go to as many objects, which as many before them have made. */
export const wokenTurn: Contender = {
  ...beginningTurns,
  name: `woken ${WOKEN_AFTER}`,
  headers: (n) => ({
    ...deployed.headers(),
    'sluice-conversation': `woken-${Math.floor(n / (2 * WAKES))}-${n % WAKES}`,
  }),
};

/** The deployed Worker with its calls and rows counted; too slow to be timed. */
const counting = { worker: { file: new URL('workers/counted.ts', import.meta.url), configured: true }, ceilings: [] };
export const counted: Contender = { ...deployed, ...counting, name: 'counted' };
/** As many as are warmed before anything is counted. */
export const COUNTED_CONVERSATIONS = 32;
export const countedTurn: Contender = { ...conversing(COUNTED_CONVERSATIONS), ...counting, name: 'counted turn' };

/** The Worker as it is deployed. */
export const metered: Contender = { ...deployed, name: 'metered', worker: 'wrangler.toml', ceilings: [] };

/** The contender of that name; the bare Worker is one too. */
export function findContender(name: string): Contender {
  const found = [bare, ...contenders, newTurn, wokenTurn, counted, countedTurn].find((each) => each.name === name);
  if (found === undefined) throw new Error(`no contender ${name}`);
  return found;
}
