import { setTimeout as sleep } from 'node:timers/promises';
import { bare, type Contender, LATE_WAKES, newTurn, WAKES, waking, wokenTurns } from './contenders.ts';
import type { Measurement } from './figures.ts';
import { Client } from './measure.ts';
import { startChild } from './processes.ts';
import { type Bundle, type Server, startServer } from './server.ts';
import { quantile, type Spread, spread } from './statistics.ts';
import { align, goalVerdict, number } from './table.ts';
import { asking, bringing } from './workloads.ts';

/** The runtime evicts an object that nobody has called for ten seconds. */
const EVICTED_MS = 12_000;
/** Each request is to another object: so many at once, and so many one after the other. */
const measured = { ...asking, requests: WAKES, latencyRequests: LATE_WAKES };
/**
 * Where these turns are to come. They are not there, and nothing fails for it yet: an empty object that wakes costs about
 * two bare requests by itself, and a turn that is awake six.
 */
const GOALS = { bare: 6.5, object: 1.5, firstEventMs: 3 };

/** What a turn costs whose object is new, or has to wake. */
export interface Wake {
  title: string;
  /** Undefined where CPU cannot be read. */
  cpuMs: Spread | undefined;
  /** As multiples of the bare Worker's, and of an empty object's that is as new, or wakes as well, and writes one row. */
  timesBare: Spread | undefined;
  timesObject: Spread | undefined;
  /** Added to the bare Worker's, at the middle. */
  firstEventMs: Spread;
}

/** One kind of request, and what it is measured beside. */
interface Entrant {
  contender: Contender;
  title: string;
  /** Has a round's objects made, which are evicted then; absent for what is new. */
  seed?: (client: Client) => Promise<unknown>;
  beside: 'bare' | 'new object' | 'woken object';
}

const ENTRANTS: Entrant[] = [
  { contender: bare, title: 'bare', beside: 'bare' },
  { contender: waking.fresh, title: 'new object', beside: 'bare' },
  {
    contender: waking.woken,
    title: 'woken object',
    beside: 'bare',
    seed: (client) => client.send(asking, WAKES + LATE_WAKES),
  },
  { contender: newTurn, title: 'first turn of a conversation', beside: 'new object' },
  ...wokenTurns.map(
    ({ turns, contender }): Entrant => ({
      contender,
      title: `turn after ${turns}, woken`,
      beside: 'woken object',
      seed: (client) => client.send(bringing(turns + 1), WAKES + LATE_WAKES),
    }),
  ),
];

/** Measures turns as they are in life: the first of a conversation, and one whose object was evicted meanwhile. */
export async function measureWakes(
  bundles: { bare: Bundle; waking: Bundle; turn: Bundle },
  upstream: string,
  rounds: number,
): Promise<Wake[]> {
  const load = startChild(new URL('load.ts', import.meta.url));
  const servers = {
    bare: await startServer(bare, bundles.bare, upstream),
    object: await startServer(waking.woken, bundles.waking, upstream),
    turn: await startServer(newTurn, bundles.turn, upstream),
  };
  const serverOf = ({ name }: Contender): Server => {
    if (name === bare.name) return servers.bare;
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
    for (const { client, contender, measurements } of round % 2 === 0 ? entrants : entrants.toReversed()) {
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
    .map(({ title, measurements, beside }) => ({
      title,
      cpuMs: spreadOf(measurements.map(({ cpuMs }) => cpuMs)),
      timesBare: timesOf(measurements, roundsOf('bare')),
      timesObject: beside === 'bare' ? undefined : timesOf(measurements, roundsOf(beside)),
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

/** The figures of a turn that have a goal; those of the objects beside it have none. */
function judged({ timesBare, timesObject, firstEventMs }: Wake) {
  if (timesObject === undefined) return undefined;
  return {
    bare: (timesBare?.median ?? 0) > GOALS.bare,
    object: timesObject.median > GOALS.object,
    firstEvent: firstEventMs.median > GOALS.firstEventMs,
  };
}

export function wakeTable(wakes: Wake[]): string {
  const text = (value: Spread | undefined) =>
    value === undefined ? '' : `${number(value.median)} (${number(value.min)}–${number(value.max)})`;
  return align([
    ['objects that are new or wake', 'CPU ms', '× bare', 'goal', '× object', 'goal', 'first event added', 'goal'],
    ...wakes.map((wake) => {
      const over = judged(wake);
      const goal = (limit: string, isExceeded: boolean | undefined) =>
        isExceeded === undefined ? '' : goalVerdict(limit, isExceeded);
      return [
        `  ${wake.title}`,
        text(wake.cpuMs),
        text(wake.timesBare),
        goal(`${GOALS.bare} ×`, over?.bare),
        text(wake.timesObject),
        goal(`${GOALS.object} ×`, over?.object),
        text(wake.firstEventMs),
        goal(`+${GOALS.firstEventMs} ms`, over?.firstEvent),
      ];
    }),
  ]);
}
