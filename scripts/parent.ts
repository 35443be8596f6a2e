/** How often a script checks whether its parent has ended, in milliseconds. */
const POLL_MS = 1_000;

/**
 * Calls a function when the process that started this one has ended. A signal to `npm start` ends npm and its shell, and the shell
 * does not forward the signal.
 */
export function onParentExit(end: () => void): void {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    end();
  }, POLL_MS);
  timer.unref();
}
