import { setTimeout as sleep } from 'node:timers/promises';
import {
  awakeTurn,
  bare,
  type Contender,
  LATE_WAKES,
  least,
  newTurn,
  WAKES,
  waking,
  wokenTurns,
  wokenWithAccount,
} from './contenders.ts';
import type { Measurement } from './figures.ts';
import { Client } from './measure.ts';
import { startChild } from './processes.ts';
import { type Bundle, type Server, startServer } from './server.ts';
import { quantile, type Spread, spread } from './statistics.ts';
import { asking, bringing } from './workloads.ts';

/** The runtime evicts an object that nobody has called for ten seconds. */
const EVICTED_MS = 12_000;
/** Each request is to another object: so many at once, and so many one after the other. */
const measured = { ...asking, requests: WAKES, latencyRequests: LATE_WAKES };

/** What a turn costs that is awake, whose object is new, or has to wake. */
export interface Wake {
  title: string;
  /** Undefined where CPU cannot be read. */
  cpuMs: Spread | undefined;
  /**
   * As multiples of the bare Worker's, of an empty object's that is as new, or wakes as well, and writes one row, and of the
   * least turn's.
   */
  timesBare: Spread | undefined;
  timesObject: Spread | undefined;
  timesLeast: Spread | undefined;
  /** Added to the bare Worker's, at the middle. */
  firstEventMs: Spread;
  /** Whether it is a turn of the product, which is awake, or is not: each has goals of its own. */
  judged: 'awake' | 'woken' | undefined;
}

/** One kind of request, and what it is measured beside. */
interface Entrant {
  contender: Contender;
  title: string;
  /** Has a round's objects made, which are evicted then; absent for what is new. */
  seed?: (client: Client) => Promise<unknown>;
  /** Has them called once more, right before they are measured. */
  rouse?: (client: Client) => Promise<unknown>;
  beside?: 'new object' | 'woken object';
  /** The title of the least turn in the same case. */
  least?: string;
  judged?: 'awake' | 'woken';
}

const seedOf = (turns: number) => (client: Client) => client.send(bringing(turns + 1), WAKES + LATE_WAKES);

const ENTRANTS: Entrant[] = [
  { contender: bare, title: 'bare' },
  { contender: waking.fresh, title: 'new object' },
  { contender: waking.woken, title: 'woken object', seed: (client) => client.send(asking, WAKES + LATE_WAKES) },
  { contender: least.awake, title: 'least turn, awake', rouse: (client) => client.send(asking, WAKES) },
  { contender: least.fresh, title: 'least turn, first', beside: 'new object' },
  ...least.woken.map(
    ({ turns, contender }): Entrant => ({
      contender,
      title: `least turn after ${turns}, woken`,
      beside: 'woken object',
      seed: seedOf(turns),
    }),
  ),
  {
    contender: least.wokenWithAccount,
    title: 'least turn after 2, woken with its account',
    beside: 'woken object',
    seed: seedOf(2),
  },
  {
    contender: awakeTurn,
    title: 'turn, awake',
    rouse: (client) => client.send(asking, WAKES),
    least: 'least turn, awake',
    judged: 'awake',
  },
  {
    contender: newTurn,
    title: 'first turn of a conversation',
    beside: 'new object',
    least: 'least turn, first',
    judged: 'woken',
  },
  ...wokenTurns.map(
    ({ turns, contender }): Entrant => ({
      contender,
      title: `turn after ${turns}, woken`,
      beside: 'woken object',
      least: `least turn after ${turns}, woken`,
      seed: seedOf(turns),
      judged: 'woken',
    }),
  ),
  {
    contender: wokenWithAccount,
    title: 'turn after 2, woken with its account',
    beside: 'woken object',
    least: 'least turn after 2, woken with its account',
    seed: seedOf(2),
  },
];

/** Measures turns as they are in life: the first of a conversation, and one whose object was evicted meanwhile. */
export async function measureWakes(
  bundles: { bare: Bundle; waking: Bundle; least: Bundle; turn: Bundle },
  upstream: string,
  rounds: number,
): Promise<Wake[]> {
  const load = startChild(new URL('load.ts', import.meta.url));
  const servers = {
    bare: await startServer(bare, bundles.bare, upstream),
    object: await startServer(waking.woken, bundles.waking, upstream),
    least: await startServer(least.fresh, bundles.least, upstream),
    turn: await startServer(newTurn, bundles.turn, upstream),
  };
  const serverOf = ({ name }: Contender): Server => {
    if (name === bare.name) return servers.bare;
    if (name.startsWith('least')) return servers.least;
    return name === waking.fresh.name || name === waking.woken.name ? servers.object : servers.turn;
  };
  const entrants = ENTRANTS.map((entrant) => ({
    ...entrant,
    client: new Client(load, entrant.contender, serverOf(entrant.contender)),
    measurements: [] as Measurement[],
  }));
  for (let round = 0; round <= rounds; round += 1) {
    for (const { seed, client } of entrants) await seed?.(client);
    await sleep(EVICTED_MS);
    for (const { client, contender, measurements, rouse } of round % 2 === 0 ? entrants : entrants.toReversed()) {
      await rouse?.(client);
      const before = await objectsMade(servers.object);
      const measurement = await client.measure(measured);
      const made = (await objectsMade(servers.object)) - before;
      if (contender === waking.woken && made < WAKES + LATE_WAKES) {
        throw new Error(`of ${WAKES + LATE_WAKES} objects only ${made} were evicted`);
      }
      // The first round warms everybody up.
      if (round > 0) measurements.push(measurement);
    }
  }
  for (const server of Object.values(servers)) await server.stop();
  load.disconnect();
  const roundsOf = (title: string) => entrants.find((entrant) => entrant.title === title)?.measurements ?? [];
  return entrants
    .filter(({ title }) => title !== 'bare')
    .map(({ title, measurements, beside, least, judged }) => ({
      title,
      judged,
      cpuMs: spreadOf(measurements.map(({ cpuMs }) => cpuMs)),
      timesBare: timesOf(measurements, roundsOf('bare')),
      timesObject: beside && timesOf(measurements, roundsOf(beside)),
      timesLeast: least === undefined ? undefined : timesOf(measurements, roundsOf(least)),
      firstEventMs: spread(measurements.map((own, round) => middle(own) - middle(roundsOf('bare')[round] ?? own))),
    }));
}

async function objectsMade({ origin }: Server): Promise<number> {
  return (await (await fetch(`${origin}/made`)).json()) as number;
}

function middle({ firstEventMs }: Measurement): number {
  return quantile(firstEventMs, 0.5);
}

function spreadOf(values: (number | undefined)[]): Spread | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : spread(known);
}

/** Round by round, so that what disturbs the machine for a while disturbs both. */
function timesOf(own: Measurement[], others: Measurement[]): Spread | undefined {
  return spreadOf(
    own.map(({ cpuMs }, round) => {
      const other = others[round]?.cpuMs;
      return cpuMs === undefined || !other ? undefined : cpuMs / other;
    }),
  );
}
