import { mintToken } from '../src/auth/mint.ts';
import type { Ceiling } from './figures.ts';
import { grownHistories, histories, wokenAfter } from './workloads.ts';

/** The Workers that are measured, each beside the bare one. Another one is another entry. */

/** What is sent to whatever is measured, and what of it is judged. */
export interface Sender {
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
}

/** A Worker. */
export interface Contender extends Sender {
  /** One of its own, with the objects that it needs by their bindings, or the one that wrangler.toml describes. */
  worker: { file: URL; configured?: boolean; objects?: Record<string, string> } | 'wrangler.toml';
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

/** The same with the bindings of the deployed Worker: measured for its start alone. */
export const bound: Contender = {
  ...bare,
  name: 'bare, bound',
  worker: { file: new URL('workers/bound.ts', import.meta.url), configured: true },
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

/** Portkey's gateway. It passes on no header of the caller's that it is not told of. */
export const portkey: Sender = {
  name: 'portkey',
  path: '/v1/messages',
  headers: () => ({ ...apiKey(), 'x-portkey-provider': 'anthropic', 'x-portkey-forward-headers': 'x-bench' }),
  ceilings: [],
};

/** In a round so many objects are woken several at once, and so many one after the other. */
export const WAKES = 160;
export const LATE_WAKES = 40;
/** A round's requests go to as many objects, which as many before them have made. */
const wokenName = (n: number): string => {
  const objects = WAKES + LATE_WAKES;
  return `${Math.floor(n / (2 * objects))}-${n % objects}`;
};
const beginningTurns = {
  ...deployed,
  worker: 'wrangler.toml',
  // A run of many rounds begins more than an account may keep.
  vars: { ...deployed.vars, DEFAULT_LIMITS: '{"conversations":1000000}' },
  ceilings: [],
} satisfies Partial<Contender>;
/** So many accounts send in turns where a request is not always of the same one. */
export const ACCOUNTS_IN_TURNS = 200;
const inTurns = await Promise.all(
  Array.from({ length: ACCOUNTS_IN_TURNS }, (_, n) =>
    mintToken(SIGNING_SECRET, { account: `bench-${n}`, scopes: ['messages'] }),
  ),
);
const headersInTurns = (n: number): Record<string, string> => ({
  authorization: `Bearer ${inTurns[n % ACCOUNTS_IN_TURNS]?.token}`,
});

/** Turns of conversations whose objects are awake: so many that none is asked while it still answers. */
const AWAKE = 64;
const awakeName = (n: number): string => `awake-${n % AWAKE}`;
export const awakeTurn: Contender = {
  ...beginningTurns,
  name: 'awake',
  headers: (n) => ({ ...deployed.headers(), 'sluice-conversation': awakeName(n) }),
};
/** Each turn is the first one of its conversation, whose object is made for it. */
export const newTurn: Contender = {
  ...beginningTurns,
  name: 'new',
  headers: (n) => ({ ...deployed.headers(), 'sluice-conversation': `new-${n}` }),
};
/** Turns of conversations that have had so many before, and whose objects were evicted since. */
export const wokenTurns = wokenAfter.map((turns) => ({
  turns,
  contender: {
    ...beginningTurns,
    name: `woken ${turns}`,
    headers: (n) => ({ ...deployed.headers(), 'sluice-conversation': `woken-${turns}-${wokenName(n)}` }),
  } satisfies Contender,
}));
/** The same where the account's object was evicted too, as it is for a person who comes back: each conversation has its own. */
export const wokenWithAccount = {
  ...beginningTurns,
  name: 'woken with its account',
  headers: (n) => ({ ...headersInTurns(n), 'sluice-conversation': `woken-${wokenName(n)}` }),
} satisfies Contender;
/** An empty object that is new, or wakes, and writes one row before the bare Worker relays. */
const wakingObject = {
  ...bare,
  worker: { file: new URL('workers/waking.ts', import.meta.url), objects: { WAKING: 'Waking' } },
};
export const waking = {
  fresh: { ...wakingObject, name: 'new object', headers: (n) => ({ ...apiKey(), 'x-object': `new-${n}` }) },
  woken: {
    ...wakingObject,
    name: 'woken object',
    headers: (n) => ({ ...apiKey(), 'x-object': `woken-${wokenName(n)}` }),
  },
} satisfies Record<string, Contender>;

/** What a turn costs that keeps only what every turn must: see `workers/least-turn.ts`. */
const leastTurn = {
  ...bare,
  worker: {
    file: new URL('workers/least-turn.ts', import.meta.url),
    objects: { CONVERSATION: 'Conversation', ACCOUNT: 'Account' },
  },
};
const leastOf = (
  name: string,
  nameOf: (n: number) => string,
  accountOf: (n: number) => string = () => 'bench',
): Contender => ({
  ...leastTurn,
  name,
  headers: (n) => ({ ...apiKey(), 'x-object': nameOf(n), 'x-account': accountOf(n) }),
});
export const least = {
  awake: leastOf('least awake', awakeName),
  fresh: leastOf('least new', (n) => `new-${n}`),
  wokenWithAccount: leastOf(
    'least woken with its account',
    (n) => `woken-${wokenName(n)}`,
    (n) => `bench-${n % ACCOUNTS_IN_TURNS}`,
  ),
  woken: wokenAfter.map((turns) => ({
    turns,
    contender: leastOf(`least woken ${turns}`, (n) => `woken-${turns}-${wokenName(n)}`),
  })),
};

/** The deployed Worker with its calls and rows counted; too slow to be timed. */
const counting = { worker: { file: new URL('workers/counted.ts', import.meta.url), configured: true }, ceilings: [] };
export const counted: Contender = { ...deployed, ...counting, name: 'counted' };
/** As many as are warmed before anything is counted. */
export const COUNTED_CONVERSATIONS = 32;
export const countedTurn: Contender = { ...conversing(COUNTED_CONVERSATIONS), ...counting, name: 'counted turn' };

/** Accounts that share the deployment's budget: each request is of the next one, so that all of them are busy. */
const sharing = {
  ...deployed,
  headers: headersInTurns,
  vars: { ...deployed.vars, DEPLOYMENT_LIMITS: '{"usd_per_day":1000}' },
};
/** The same without a shared budget, to compare with. */
const apart = { ...sharing, vars: deployed.vars };
export const leased: Contender = { ...sharing, name: 'leased', worker: 'wrangler.toml', ceilings: [] };
export const unleased: Contender = { ...apart, name: 'unleased', worker: 'wrangler.toml', ceilings: [] };
export const countedLeased: Contender = { ...sharing, ...counting, name: 'counted leased' };

/** Conversations that have had so many turns; few, so that seeding them is quick. */
export const AGED_CONVERSATIONS = 16;
const aged = (turns: number) => conversing(AGED_CONVERSATIONS, `aged-${turns}`);
export const agedTurns = histories.map((turns) => ({
  turns,
  timed: { ...aged(turns), name: `turn ${turns}`, worker: 'wrangler.toml', ceilings: [] } satisfies Contender,
  counted: { ...aged(turns), ...counting, name: `counted turn ${turns}` } satisfies Contender,
}));

/** Turns of an account that has much besides them. */
export const grownTurn: Contender = {
  ...conversing(64, 'grown-turn'),
  ...{ name: 'grown turn', worker: 'wrangler.toml', ceilings: [] },
  // More than an account may keep by default.
  vars: { ...deployed.vars, DEFAULT_LIMITS: '{"conversations":1000000}' },
};
/** Conversations that have had very many turns: few, since each request of them is long. */
export const GROWN_CONVERSATIONS = 8;
export const longTurn = (turns: number): Contender => ({
  ...conversing(GROWN_CONVERSATIONS, `long-${turns}`),
  ...{ name: `long turn ${turns}`, worker: 'wrangler.toml', ceilings: [] },
});

/** A request whose beginning is stored at the edge. */
export const PREFIX_NAME = 'bench';
const withPrefix = {
  ...deployed,
  headers: (): Record<string, string> => ({ ...deployed.headers(), 'sluice-prefix': PREFIX_NAME }),
};
export const metered: Contender = { ...deployed, name: 'metered', worker: 'wrangler.toml', ceilings: [] };
export const prefixed: Contender = { ...withPrefix, name: 'prefixed', worker: 'wrangler.toml', ceilings: [] };
export const countedPrefixed: Contender = { ...withPrefix, ...counting, name: 'counted prefixed' };

/** The contender of that name; the bare Worker is one too. */
export function findContender(name: string): Sender {
  const aged = agedTurns.flatMap(({ timed, counted }) => [timed, counted]);
  const shared = [leased, unleased, countedLeased];
  const ofLeast = [least.awake, least.fresh, least.wokenWithAccount, ...least.woken.map(({ contender }) => contender)];
  const ofTurns = [awakeTurn, newTurn, wokenWithAccount, ...wokenTurns.map(({ contender }) => contender)];
  const woken = [waking.fresh, waking.woken, ...ofLeast, ...ofTurns];
  const grown = [grownTurn, ...grownHistories.map(longTurn)];
  const all = [
    bare,
    portkey,
    ...grown,
    ...contenders,
    counted,
    countedTurn,
    prefixed,
    countedPrefixed,
    ...shared,
    ...aged,
    ...woken,
  ];
  const found = all.find((contender) => contender.name === name);
  if (found === undefined) throw new Error(`no contender ${name}`);
  return found;
}
