/** How fast this machine is, beside the one on which the day's ceiling was set. */

/** What the loop takes on that machine while the tests run, in milliseconds of CPU: the median of five runs. */
const REFERENCE_MS = 30;
const ROUNDS = 18_000;

/** Runs a fixed loop of what tests are made of: objects, their JSON, texts that are searched. @returns milliseconds of CPU */
export function runLoop(): number {
  const before = process.cpuUsage();
  let length = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const text = JSON.stringify({
      round,
      words: ['stream', 'hold', 'settle', `turn ${round}`],
      usage: { tokens: round },
    });
    const { words } = JSON.parse(text) as { words: string[] };
    length += words.join(' ').replace(/turn (\d+)/, '$1').length;
  }
  const { user, system } = process.cpuUsage(before);
  if (length === 0) throw new Error('The loop has done nothing.');
  return (user + system) / 1_000;
}

/** @param loops what `runLoop` has taken, during a run @returns how many times as long this machine takes for the same */
export function slowness(loops: readonly number[]): number {
  const sorted = [...loops].sort((one, other) => one - other);
  return (sorted[Math.floor(sorted.length / 2)] ?? REFERENCE_MS) / REFERENCE_MS;
}
