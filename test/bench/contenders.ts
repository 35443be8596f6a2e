import { mintToken } from '#edge/auth/mint.ts';

/** The Workers that are measured. Another one is another entry. */

/** A Worker, and what is sent to it. */
export interface Contender {
  name: string;
  path: string;
  /** What this contender's nth request carries besides the workload's own headers, in the measurement of that number. */
  headers: (n: number, measurement: number) => Record<string, string>;
  /** So many requests come before each measurement and are none of it: what they begin is gone on with. */
  begins?: number;
  /** One of its own, with the bindings of wrangler.toml or without; or the one that wrangler.toml describes. */
  worker: { file: URL; isBound?: boolean } | 'wrangler.toml';
  /** Settings besides `ANTHROPIC_BASE_URL` and those of wrangler.toml. */
  vars: Record<string, string>;
}

const workerIn = (name: string, isBound = false) => ({ file: new URL(`workers/${name}.ts`, import.meta.url), isBound });

export const bare: Contender = {
  name: 'bare',
  worker: workerIn('bare'),
  path: '/v1/messages',
  headers: () => ({ 'x-api-key': 'bench' }),
  vars: {},
};

/** What a Worker can do at least that reads what it passes on: streams as they come in life stand beside it. */
export const lateCopy: Contender = { ...bare, name: 'late copy', worker: workerIn('late-copy') };

/** A deployment's own way: a token that is verified, and nothing of development mode. */
export const SIGNING_SECRET = 'the bench signs with this, and nobody else does';
const { token } = await mintToken(SIGNING_SECRET, { account: 'bench', scopes: ['messages'] });
const deployed = {
  path: '/v1/messages',
  headers: (): Record<string, string> => ({ authorization: `Bearer ${token}` }),
  // Nine rounds make more conversations than an account may keep by default.
  vars: {
    SIGNING_SECRET,
    ANTHROPIC_API_KEY: 'bench',
    DEFAULT_LIMITS: JSON.stringify({ conversations: 1_000_000, stored_bytes: 1e12 }),
  },
};
/** So many conversations take turns that none is asked while it still answers. */
const conversing = (n: number, conversations: number, of = 'bench'): Record<string, string> => ({
  ...deployed.headers(),
  'sluice-conversation': `${of}-${n % conversations}`,
});

/** The edge without accounts: what relaying alone costs. */
export const relay: Contender = { ...deployed, name: 'relay', worker: workerIn('unmetered') };
export const metered: Contender = { ...deployed, name: 'metered', worker: 'wrangler.toml' };
/** Each measurement has conversations of its own: otherwise they were the longer, the more had been measured before. */
export const turn: Contender = {
  ...metered,
  name: 'turn',
  begins: 128,
  headers: (n, measurement) => conversing(n, 128, `bench-${measurement}`),
};

/** The deployed Worker with its calls and rows counted; too slow to be timed. */
export const counted: Contender = { ...deployed, name: 'counted', worker: workerIn('counted', true) };
/** As many as are warmed before anything is counted. */
export const COUNTED_CONVERSATIONS = 32;
export const countedTurn: Contender = {
  ...counted,
  name: 'counted turn',
  headers: (n) => conversing(n, COUNTED_CONVERSATIONS),
};

/** The contender of that name. */
export function findContender(name: string): Contender {
  const found = [bare, lateCopy, relay, metered, turn, counted, countedTurn].find((each) => each.name === name);
  if (found === undefined) throw new Error(`no contender ${name}`);
  return found;
}
