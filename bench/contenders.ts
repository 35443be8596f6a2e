import type { Ceiling } from './figures.ts';

/** The Workers that are measured, each beside the bare one. Another one is another entry. */

export interface Contender {
  name: string;
  /** A Worker of its own, or the one that wrangler.toml describes. */
  worker: URL | 'wrangler.toml';
  path: string;
  /** What this contender's nth request carries besides the workload's own headers. */
  headers: (n: number) => Record<string, string>;
  /** Settings besides `ANTHROPIC_BASE_URL` and those of wrangler.toml. */
  vars: Record<string, string>;
  /** What design §10 allows it. */
  ceilings: Ceiling[];
}

const apiKey = (): Record<string, string> => ({ 'x-api-key': 'bench' });

export const bare: Contender = {
  name: 'bare',
  worker: new URL('workers/bare.ts', import.meta.url),
  path: '/v1/messages',
  headers: apiKey,
  vars: {},
  ceilings: [],
};

export const contenders: Contender[] = [
  {
    name: 'relay',
    worker: 'wrangler.toml',
    path: '/v1/messages',
    headers: apiKey,
    vars: { MODE: 'development', ANTHROPIC_API_KEY: 'bench' },
    ceilings: [
      { workload: 'burst', figure: 'cpu', of: 'ratio', max: 2 },
      { workload: 'flushed', figure: 'cpu', of: 'ratio', max: 1.8 },
      { workload: 'burst', figure: 'firstEventP50', of: 'added', max: 1 },
      // Not of `flushed`: before an upstream that never pauses the first event waits for those behind it.
      { workload: 'paced', figure: 'firstEventP50', of: 'added', max: 1 },
    ],
  },
];

/** The contender of that name; the bare Worker is one too. */
export function findContender(name: string): Contender {
  const found = [bare, ...contenders].find((contender) => contender.name === name);
  if (found === undefined) throw new Error(`no contender ${name}`);
  return found;
}
