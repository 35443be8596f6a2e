/**
 * Ends wrangler's process, into which it is loaded, when the start script has ended, even if that was killed. Otherwise
 * wrangler would keep running.
 */
import { rmSync } from 'node:fs';

const GRACE_MS = 5_000;

process.on('disconnect', () => {
  const { START_FOLDER } = process.env;
  if (START_FOLDER) rmSync(START_FOLDER, { recursive: true, force: true });
  // Wrangler would try to disconnect from the ended parent, and print a stack trace.
  Reflect.deleteProperty(process, 'disconnect');
  // The same signal as Ctrl+C. If that hangs, this process exits, and its children end with it.
  process.kill(process.pid, 'SIGTERM');
  setTimeout(() => process.exit(1), GRACE_MS);
});
// Listening alone must not keep the process running.
process.channel?.unref();
