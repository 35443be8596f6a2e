/**
 * Shows that the simulation finds mistakes: `node test/simulation/hunt.ts`, or with the beginning of a mistake's name.
 * Each is hunted in a process of its own, in the source as it is loaded there; no file is changed.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { FOUND, MUTATIONS, type Mutation } from './mutations.ts';

const AT_ONCE = 2;
/** Most are found in the first hundred schedules. */
const SEARCH = { SCHEDULES: '20000', SCHEDULE_PATH: undefined };

/** @returns what the simulation says of a mistake, or undefined where it has not found it */
async function hunt({
  name,
  object,
  seed = '1',
}: Pick<Mutation, 'name' | 'object' | 'seed'>): Promise<string | undefined> {
  const script = fileURLToPath(import.meta.resolve('./one.ts'));
  const child = spawn(process.execPath, [script, object], {
    env: { ...process.env, ...SEARCH, SCHEDULE_SEED: seed, MUTATION: name },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  child.stdout.on('data', (piece: Buffer) => {
    said += piece;
  });
  child.stderr.on('data', (piece: Buffer) => {
    said += piece;
  });
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  if (code !== 0 && code !== FOUND) throw new Error(`${name}: ${said}`);
  return code === FOUND ? said.trim().split('\n')[0]?.slice(0, 120) : undefined;
}

/** Hunts mistakes, some at a time. @returns those that were not found */
export async function huntAll(mutations: readonly Mutation[], tell: (line: string) => void): Promise<string[]> {
  const left = [...mutations];
  const missed: string[] = [];
  const work = async () => {
    for (let next = left.shift(); next; next = left.shift()) {
      const found = await hunt(next);
      tell(`${found === undefined ? 'MISSED' : 'found'}: ${next.name}${found === undefined ? '' : ` — ${found}`}`);
      if (found === undefined) missed.push(next.name);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return missed;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , name = ''] = process.argv;
  const missed = await huntAll(
    MUTATIONS.filter((mutation) => mutation.name.startsWith(name)),
    (line) => console.log(line),
  );
  process.exitCode = missed.length === 0 ? 0 : 1;
}
