import { onTestFinished } from 'vitest';
import { toSeed } from './seed.ts';

/**
 * The first second of a year, a month and a week, a leap day, and a 31st: a file of tests begins at one. None is soon before
 * midnight, which would come in the middle of some test, on a slow machine of another one: `npm run night midnight` does that.
 */
const START_MOMENTS = [
  '2027-01-01T00:00:00Z',
  '2027-03-01T00:00:00Z',
  '2026-11-30T00:00:00Z',
  '2028-02-29T12:00:00Z',
  '2027-01-31T12:00:00Z',
];

declare module 'vitest' {
  interface ProvidedContext {
    /** When each file of tests begins; empty where its name draws that. */
    calendar: string;
  }
}

/** What the isolate knows of its clock, whichever file has set it. */
interface Clock {
  real: () => number;
  /** In milliseconds. */
  aheadBy: number;
  /** Where it stands still; undefined while it goes. */
  stoppedAt: number | undefined;
}

const globals = globalThis as { sluiceCalendar?: Clock };

/**
 * Sets the clock, once for each file of tests.
 *
 * @param moment a time of ISO 8601, or "machine" to leave the clock as it is; where it is empty the name of the
 *   file draws one of `MOMENTS`, each time the same
 * @param name of the file, without its folder
 */
export function setClockForFile(moment: string, name: string): void {
  if (moment === 'machine') {
    // A file before, in the same isolate, may have set it.
    if (globals.sluiceCalendar) globals.sluiceCalendar.aheadBy = 0;
    return;
  }
  const at = Date.parse(moment || (START_MOMENTS[toSeed(name) % START_MOMENTS.length] ?? ''));
  if (Number.isNaN(at)) throw new Error(`CALENDAR: "${moment}" is no time of ISO 8601.`);
  globals.sluiceCalendar ??= installTestClock();
  globals.sluiceCalendar.aheadBy = at - globals.sluiceCalendar.real();
}

/** Sets the clock to a noon, for tests of a file that look at what a day has, or at examples of that day. */
export function setClockToNoon(): void {
  setClockForFile('2026-11-20T12:00:00Z', '');
}

/** Stops the clock until the end of a test whose outcome depends on how fast a machine is. No limit of time runs out then. */
export function stopClock(): void {
  globals.sluiceCalendar ??= installTestClock();
  const clock = globals.sluiceCalendar;
  clock.stoppedAt = Date.now();
  onTestFinished(() => {
    clock.stoppedAt = undefined;
  });
}

/** Lets the clock go on from where it stands: a silence is timed by it. */
export function startClock(): void {
  const clock = globals.sluiceCalendar;
  if (clock?.stoppedAt === undefined) return;
  clock.aheadBy = clock.stoppedAt - clock.real();
  clock.stoppedAt = undefined;
}

/** Moves the clock on, whether it goes or stands: what a test says takes so long takes no time of the machine's. */
export function advanceClock(ms: number): void {
  globals.sluiceCalendar ??= installTestClock();
  const clock = globals.sluiceCalendar;
  if (clock.stoppedAt === undefined) clock.aheadBy += ms;
  else clock.stoppedAt += ms;
}

/** @returns the time of the machine, in milliseconds, whatever the clock of a test says */
export function getMachineTime(): number {
  return globals.sluiceCalendar?.real() ?? Date.now();
}

/** @returns how far the calendar is ahead of the machine's, in milliseconds */
export function getAheadMs(): number {
  return globals.sluiceCalendar?.aheadBy ?? 0;
}

/** Replaces the clock of this isolate by one that can be set. */
function installTestClock(): Clock {
  const real = Date.now.bind(Date);
  const clock: Clock = { real, aheadBy: 0, stoppedAt: undefined };
  Date.now = () => clock.stoppedAt ?? real() + clock.aheadBy;
  globalThis.Date = new Proxy(Date, {
    construct: (date, realDate, target) =>
      Reflect.construct(date, realDate.length > 0 ? realDate : [Date.now()], target),
  });
  return clock;
}
