import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { promisify } from 'node:util';

/** @returns the processes that one has started, and theirs, and so on. */
export async function descendantsOf(pid: number): Promise<number[]> {
  // It fails where there is none.
  const found = await promisify(execFile)('pgrep', ['-P', String(pid)]).catch(() => undefined);
  const children = found?.stdout.trim().split('\n').map(Number) ?? [];
  return [...children, ...(await Promise.all(children.map(descendantsOf))).flat()];
}

/** Below the ports that Linux gives to connections: there thousands come and go while somebody begins to listen. */
const [FIRST_PORT, MOST_PORTS] = [20_000, 12_000];

/** @returns a port that nobody listens on, and that no connection is given. */
export async function freePort(): Promise<number> {
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

/** @returns whether a process runs; one that has ended, and that nobody has asked about yet, does not. */
export async function runs(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  return status !== undefined && !/\) [ZX] /.test(status);
}

/** @returns those of some processes that run */
export async function running(pids: readonly number[]): Promise<number[]> {
  const answers = await Promise.all(pids.map(async (pid) => ((await runs(pid)) ? [pid] : [])));
  return answers.flat();
}

/** @returns the ports that processes listen on. */
export async function portsOf(pids: readonly number[]): Promise<number[]> {
  const sockets = new Set((await Promise.all(pids.map(socketsOf))).flat());
  const tables = await Promise.all(
    ['tcp', 'tcp6'].map((name) => readFile(`/proc/net/${name}`, 'utf8').catch(() => '')),
  );
  const rows = tables.flatMap((table) => table.split('\n').slice(1)).map((row) => row.trim().split(/\s+/));
  const LISTENS = '0A';
  const listening = rows.filter((row) => row[3] === LISTENS && sockets.has(row[9] ?? ''));
  return [...new Set(listening.map((row) => Number.parseInt(row[1]?.split(':')[1] ?? '', 16)))];
}

async function socketsOf(pid: number): Promise<string[]> {
  const folder = `/proc/${pid}/fd`;
  const names = await readdir(folder).catch(() => []);
  const links = await Promise.all(names.map((name) => readlink(`${folder}/${name}`).catch(() => '')));
  return links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []);
}

/** @returns the CPU that the first thread of a process has used, in milliseconds, as exactly as Linux counts it */
export function cpuMsOfThread(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
}
