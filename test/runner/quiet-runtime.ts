/**
 * What workerd says of itself when a test kills its objects, which is what such a test is about: each such line comes
 * with a stack of the runtime's own code, without a name of ours.
 */
const EXPECTED = [
  'Application called abortAllDurableObjects()',
  'SQLite alarm handler canceled with requestScheduledAlarm',
  'failed to invoke drain() on IncomingRequest before destroying it',
  'onBroken() can only be called once',
];

/** Leaves out what is expected of runtimes that tests kill: Vitest's plugin writes it here, and has no option for it. */
export function quietKilledRuntimes(): void {
  const write = process.stderr.write.bind(process.stderr);
  process.stderr.write = ((...said: Parameters<typeof write>) => {
    const [piece] = said;
    if (typeof piece === 'string' && EXPECTED.some((line) => piece.includes(line))) return true;
    return write(...said);
  }) as typeof write;
}
