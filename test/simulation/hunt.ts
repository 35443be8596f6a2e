/**
 * Tries schedules that no run has tried: `npm run hunt`, or with parts of the names of files, such as `pool`. `SCHEDULES` says
 * how many of each object. A failure prints its seed and its path, by which it is repeated.
 */
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';

const { SCHEDULES = '2000' } = process.env;
const seed = String(randomInt(1_000_000_000));
console.log(`SCHEDULES=${SCHEDULES} SCHEDULE_SEED=${seed}`);
const names = process.argv.slice(2);
const files = (names.length === 0 ? [''] : names).map((name) => `test/simulation/${name}`);
// Npm runs scripts in the folder of the package.
const args = ['node_modules/vitest/vitest.mjs', 'run', ...files];
const child = spawn(process.execPath, args, {
  stdio: 'inherit',
  env: { ...process.env, SCHEDULES, SCHEDULE_SEED: seed },
});
child.on('close', (code) => {
  process.exitCode = code ?? 1;
});
