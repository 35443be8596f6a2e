/** Workers whose clock is not the machine's, for tests over HTTP: nobody waits for minutes there. */

/** How many times faster a fast clock is. */
const SPEED = 50;

/** Returns a Worker's script on a fast clock: a timer of 15 s fires after 0.3 s, when its clock says that 15 s have passed. */
export function withFastClock(script: string): string {
  return `
    const { now } = Date;
    const { setTimeout: set, setInterval: repeat } = globalThis;
    let began;
    // Outside a request the runtime's clock stands at 0.
    Date.now = () => now() && (began ??= now()) + (now() - began) * ${SPEED};
    globalThis.setTimeout = (run, ms = 0, ...more) => set(run, ms / ${SPEED}, ...more);
    globalThis.setInterval = (run, ms = 0, ...more) => repeat(run, ms / ${SPEED}, ...more);
    ${script}`;
}

/** Returns a Worker's script whose clock is so many milliseconds ahead. */
export function withClockAhead(script: string, milliseconds: number): string {
  return `
    const { now } = Date;
    Date.now = () => now() && now() + ${milliseconds};
    ${script}`;
}
