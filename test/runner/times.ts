/** Keeps how long files of tests took, from one run to the next, and chooses what fits into a time. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const KEPT = 'node_modules/.cache/test-seconds.json';
/** Seconds of a file that has not run on this machine yet, by how its path begins. */
const GUESSED = { 'test/e2e/page/': 30, 'test/e2e/': 10, 'test/simulation/': 10, 'test/scripts/': 3, '': 2 } as const;

type Seconds = Readonly<Record<string, number>>;

/** Reads how many seconds files took when they last ran. @param root the folder of the package */
export function readSeconds(root: string): Seconds {
  const kept = join(root, KEPT);
  return existsSync(kept) ? (JSON.parse(readFileSync(kept, 'utf8')) as Seconds) : {};
}

/** Adds what files took to what is kept. Of two runs that end at once, one may lose its figures. */
export function keepSeconds(root: string, seconds: Seconds): void {
  const kept = join(root, KEPT);
  mkdirSync(dirname(kept), { recursive: true });
  // Who reads meanwhile gets the old file or the new one.
  writeFileSync(`${kept}.${process.pid}`, JSON.stringify({ ...readSeconds(root), ...seconds }));
  renameSync(`${kept}.${process.pid}`, kept);
}

/** Says how many seconds a file may take: as it last did, or a guess. */
export function secondsOf(file: string, known: Seconds): number {
  const guess = Object.entries(GUESSED).find(([begin]) => file.startsWith(begin));
  return known[file] ?? guess?.[1] ?? 0;
}

/** Chooses files in their order as long as they fit into a time together. The first one always runs. @param most seconds */
export function chooseFitting(files: readonly string[], known: Seconds, most: number) {
  const chosen: string[] = [];
  let seconds = 0;
  for (const file of files) {
    const more = secondsOf(file, known);
    if (chosen.length > 0 && seconds + more > most) continue;
    chosen.push(file);
    seconds += more;
  }
  return { chosen, left: files.filter((file) => !chosen.includes(file)), seconds };
}
