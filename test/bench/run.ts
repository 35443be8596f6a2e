/** Prints the figures of `docs/cost.md`: `npm run bench`. They are looked at; none is a reason to fail. */
import { availableParallelism, cpus } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { costTable } from './billed.ts';
import { bare, type Contender, counted, lateCopy, metered, relay, turn } from './contenders.ts';
import { historyTable } from './history-cost.ts';
import { nextMessage, startChild } from './processes.ts';
import { type Entrant, measureRounds } from './rounds.ts';
import { buildWorker, HERE, startServer } from './server.ts';
import { besideTable, speedTable } from './speed.ts';
import { burst, flushed, live, paced } from './workloads.ts';

const USAGE = `npm run bench [-- --beside FOLDER] [--rounds N]
  --beside FOLDER  the Worker of another checkout, too, in turns with this one. There npm install has been run
  --rounds N       how often everything is measured (7)`;

/** One line that is overwritten by the next, for a person who waits. */
function tell(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

/** Each table is printed once it is there: a run that is ended before its end has told something. */
function print(title: string, table: string): void {
  tell('');
  console.log(`\n${title}\n\n${table}`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      beside: { type: 'string' },
      rounds: { type: 'string', default: '7' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return console.log(USAGE);
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds takes a whole number from 1 on');
  print('500 turns of a conversation at Claude, by how its history is kept', historyTable());

  const upstream = startChild(new URL('upstream.ts', import.meta.url));
  const { port } = await nextMessage<{ port: number }>(upstream);
  const origin = `http://127.0.0.1:${port}`;
  const [own, there] = [HERE, values.beside === undefined ? undefined : resolve(values.beside)];
  const bundles = new Map<string, string>();
  const entrant = async (contender: Contender, workloads: Entrant['workloads'], folder = own): Promise<Entrant> => {
    const { worker, name } = contender;
    const key = `${folder} ${JSON.stringify(worker)}`;
    tell(`building ${name}`);
    const script = bundles.get(key) ?? (await buildWorker(worker, folder));
    bundles.set(key, script);
    const title = folder === own ? name : `${name} there`;
    return { title, contender, workloads, start: () => startServer(contender, script, origin, folder) };
  };
  const all = [burst, flushed, paced, live];
  const entrants = [
    await entrant(bare, [burst, flushed, paced]),
    await entrant(lateCopy, [live]),
    await entrant(relay, all),
    await entrant(metered, all),
    await entrant(turn, all),
  ];
  if (there !== undefined) entrants.push(await entrant(metered, all, there), await entrant(turn, all, there));
  const measured = await measureRounds(entrants, rounds, tell);
  const machine = `${availableParallelism()} × ${cpus()[0]?.model ?? 'unknown processor'}, node ${process.version}`;
  print(`Beside a Worker that only passes on (${machine}; median of ${rounds} rounds)`, speedTable(measured));
  if (there !== undefined) print(`This checkout beside ${there}, pair by pair`, besideTable(measured));
  print('A million of each', await costTable(await buildWorker(counted.worker), origin, tell));
}

try {
  await main();
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
// Miniflare and the children keep the process alive otherwise.
process.exit();
