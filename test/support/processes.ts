import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';

/** Below the ports that Linux gives to connections: there thousands come and go while somebody begins to listen. */
const [FIRST_PORT, MOST_PORTS] = [20_000, 12_000];

/** @returns a port that nobody listens on, and that no connection is given. */
export async function findFreePort(): Promise<number> {
  for (;;) {
    const port = FIRST_PORT + Math.floor(Math.random() * MOST_PORTS);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

/** @returns the CPU that the first thread of a process has used, in milliseconds, as exactly as Linux counts it */
export function readThreadCpuMs(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
}
