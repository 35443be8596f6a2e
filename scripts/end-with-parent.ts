/**
 * Loaded into wrangler's own process, which would go on without anybody: ends it when the start script is gone, also when
 * that was killed and could say nothing any more.
 */
import { rmSync } from 'node:fs';

const GRACE_MS = 5_000;

process.on('disconnect', () => {
  const { START_FOLDER } = process.env;
  if (START_FOLDER) rmSync(START_FOLDER, { recursive: true, force: true });
  // Wrangler's first process would disconnect from what is gone, and say with a stack trace that it cannot.
  Reflect.deleteProperty(process, 'disconnect');
  // As Ctrl+C does; but should that hang, its processes end with it.
  process.kill(process.pid, 'SIGTERM');
  setTimeout(() => process.exit(1), GRACE_MS);
});
// Nothing is kept running by listening alone.
process.channel?.unref();
