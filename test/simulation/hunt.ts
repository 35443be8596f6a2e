/**
 * Shows that the simulation finds mistakes by chance: `npm run hunt`, or with the beginnings of some mistakes' names.
 * `npm run hunt -- --record` hunts only those that their recorded schedules do not find any more, and records others.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Simulations } from './linked.ts';
import { MUTATIONS, type Mutation } from './mutations.ts';
import type { Failure } from './property.ts';
import { ONE, RECORD, recorded, replay } from './recorded.ts';

/** Most are found in the first hundred schedules, from seeds that were chosen for it; from the first seed some take two thousand. */
const MOST = 20_000;

/** Looks for a schedule under which a mistake shows, and which holds without it: from its recorded seed on. */
async function hunt(mutation: Mutation): Promise<Failure | undefined> {
  const seed = Number(process.env.SCHEDULE_SEED ?? recorded[mutation.name]?.seed ?? 1);
  const [right, wrong] = [simulations.right(mutation.object), await simulations.wrong(mutation)];
  for (let next = 0; next < MOST; ) {
    const found = await wrong.find({ shrinks: false, seed, path: String(next), runs: MOST - next });
    if (!found) return undefined;
    const { path } = found;
    const fault = await right.find({ ...ONE, seed, path });
    if (!fault) return found;
    tell(`FAILS without any mistake: ${mutation.object}, SCHEDULE_SEED=${seed} SCHEDULE_PATH=${path}`, fault);
    process.exitCode = 1;
    next = Number(path) + 1;
  }
  return undefined;
}

/** Has a mistake replayed by day from now on. */
function record({ name }: Mutation, { seed, path }: Failure): void {
  recorded[name] = { seed, path };
  const rows = MUTATIONS.flatMap((one) => {
    const schedule = recorded[one.name];
    return schedule ? [`  ${JSON.stringify(one.name)}: { "seed": ${schedule.seed}, "path": "${schedule.path}" }`] : [];
  });
  writeFileSync(RECORD, `{\n${rows.join(',\n')}\n}\n`);
}

function tell(what: string, { message }: Failure): void {
  console.log(`${what} — ${message.split('\n')[0]?.slice(0, 120)}`);
}

const { values, positionals } = parseArgs({ options: { record: { type: 'boolean' } }, allowPositionals: true });
const simulations = await Simulations.load();
for (const mutation of MUTATIONS) {
  const { name } = mutation;
  if (positionals.length > 0 && !positionals.some((beginning) => name.startsWith(beginning))) continue;
  if (values.record && (await replay(simulations, mutation)) === undefined) continue;
  const found = await hunt(mutation);
  if (found) tell(`found: ${name}`, found);
  else console.log(`MISSED: ${name}`);
  if (!found) process.exitCode = 1;
  else if (values.record) record(mutation, found);
}
