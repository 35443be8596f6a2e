/** What a run of tests took and found, and how it is told. */

/** What something took, in milliseconds; CPU with what it has started. */
export interface Times {
  wall: number;
  cpu: number;
}

/** A file of tests that has run. */
interface FileRun extends Times {
  file: string;
  project: string;
  /** Its tests that took longer than `LONG_MS`. */
  long: string[];
}

/** What one process of Vitest has run. */
export interface Run {
  files: FileRun[];
  passed: number;
  /** Each test that failed, by file, title and reason, and each file that could not be read. */
  failed: string[];
  skipped: number;
  /** Of Vitest itself, without what it has started. */
  itself: Times;
}

/** So many of the dearest files are named, unless `TIMES=all` asks for each. */
const NAMED = 15;
/** Longer than any test has to wait for anything but the processor. */
export const LONG_MS = 10_000;

/**
 * Writes the table of a run: each project, the dearest files, and who has waited.
 *
 * @param runs of one or more processes of Vitest
 * @param whole of all of them together
 */
export function tableOf(runs: readonly Run[], whole: Times): string {
  const files = runs.flatMap((run) => run.files);
  const itself = sumOf(runs.map((run) => run.itself)).cpu;
  // Where the system does not tell of processes there is nothing to share.
  const shared = Math.max(0, whole.cpu - itself - sumOf(files).cpu);
  const named = process.env.TIMES === 'all' ? files.length : NAMED;
  const projects = Map.groupBy(files, ({ project }) => project);
  const dearest = [...files].sort((one, other) => weightOf(other) - weightOf(one)).slice(0, named);
  const waiting = files.filter((file) => file.long.length > 0 && file.wall - file.cpu > LONG_MS);
  return [
    '\n   wall    CPU  waiting, in seconds',
    ...[...projects].map(([name, own]) => line(`${name}: ${own.length} files`, sumOf(own))),
    line('Vitest itself', { wall: 0, cpu: itself }),
    line('what files share: the browser, an edge, processes that begin and end', { wall: 0, cpu: shared }),
    line('the run', whole),
    '',
    ...dearest.map((file) => line(file.file, file)),
    ...waiting.flatMap(({ file, long }) =>
      long.map((title) => `Waited more than ${LONG_MS / 1_000} s: ${file}: ${title}`),
    ),
    '',
  ].join('\n');
}

/** Whichever of the two is longer costs a run: a processor, or a place among those that run at once. */
const weightOf = ({ wall, cpu }: Times) => Math.max(wall, cpu);

const sumOf = (all: readonly Times[]): Times => ({
  wall: all.reduce((sum, { wall }) => sum + wall, 0),
  cpu: all.reduce((sum, { cpu }) => sum + cpu, 0),
});

const line = (what: string, { wall, cpu }: Times) =>
  `${[wall, cpu, Math.max(0, wall - cpu)].map((ms) => (ms / 1_000).toFixed(1).padStart(7)).join('')}  ${what}`;

/** Writes the line that programs read: `N passed, N failed`. */
export function countsOf(runs: readonly Run[]): string {
  const count = (of: (run: Run) => number) => runs.reduce((sum, run) => sum + of(run), 0);
  const skipped = count((run) => run.skipped);
  return `${count((run) => run.passed)} passed, ${count((run) => run.failed.length)} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
