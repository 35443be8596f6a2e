/** Gateways that others have made, beside the bare Worker and Sluice: same upstream, same clients, in turns. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, readFile, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { portkey, type Sender } from './contenders.ts';
import type { Comparison, FigureName } from './figures.ts';
import { figures } from './figures.ts';
import { cpuMs, endWithThisProcess, nextMessage, residentBytes, startChild } from './processes.ts';
import { type Entrant, measureRounds, type Plan } from './rounds.ts';
import type { Server } from './server.ts';
import { type Spread, spread } from './statistics.ts';
import { align, number } from './table.ts';
import type { Uploaded, UploadOrder } from './uploads.ts';
import { burst } from './workloads.ts';

/** The versions, and what their files must be: a lock with their digests. */
const LOCKED = new URL('peers/', import.meta.url);
const FILES = ['package.json', 'package-lock.json'];
/** Where they are installed. `npm install` of Sluice itself does not bring them: hardly anybody runs them. */
const INSTALLED = new URL('../node_modules/.cache/bench-peers/', import.meta.url);
const STARTING_MS = 30_000;
const OPEN_STREAMS = 400;
/** So many requests at once, and so many times. */
const [WARMING_REQUESTS, WARMING_TIMES] = [8, 50];
/** Until the runtime has given back what beginning so many streams took. */
const AFTERWORK_MS = 2_000;
const SHOWN: readonly FigureName[] = ['cpu', 'requestsPerSecond', 'firstEventP50', 'endP50'];

/** Installs the peers, unless just these versions are there. */
async function installPeers(): Promise<void> {
  const read = async (folder: URL) => await Promise.all(FILES.map((name) => readFile(new URL(name, folder), 'utf8')));
  const wanted = await read(LOCKED);
  // These copies are made last: where they are, all was installed.
  const there = await read(new URL('installed/', INSTALLED)).catch(() => []);
  if (wanted.join() === there.join()) return;
  await rm(INSTALLED, { recursive: true, force: true });
  await mkdir(INSTALLED, { recursive: true });
  for (const name of FILES) await cp(new URL(name, LOCKED), new URL(name, INSTALLED));
  const options = ['ci', '--ignore-scripts', '--no-audit', '--no-fund'];
  await promisify(execFile)('npm', options, { cwd: fileURLToPath(INSTALLED) });
  for (const name of FILES) await cp(new URL(name, LOCKED), new URL(`installed/${name}`, INSTALLED));
}

/** @returns a port of this machine that nobody listens at */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts Portkey's gateway in a process of its own, as its command does. */
async function startPortkey(upstream: string): Promise<Server> {
  const port = await freePort();
  const file = new URL('node_modules/@portkey-ai/gateway/build/start-server.js', INSTALLED);
  const child = spawn(process.execPath, [fileURLToPath(file), '--headless', `--port=${port}`], {
    // It says much of its start and nothing of its requests.
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, NODE_ENV: 'production' },
  });
  const { pid } = child;
  if (pid === undefined) throw new Error('Portkey does not start');
  endWithThisProcess(pid);
  const origin = `http://127.0.0.1:${port}`;
  for (const until = performance.now() + STARTING_MS; ; ) {
    if (
      await fetch(origin).then(
        (answer) => answer.ok,
        () => false,
      )
    )
      break;
    if (child.exitCode !== null || performance.now() > until) throw new Error('Portkey does not answer');
    await sleep(100);
  }
  return {
    origin,
    pid,
    disk: '',
    inspector: undefined,
    headers: { 'x-portkey-custom-host': `${upstream}/v1` },
    cpuMs: () => cpuMs(pid),
    stop: async () => {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    },
  };
}

/** What is printed of each contender. */
export interface Peers {
  comparisons: Comparison[];
  /** What an open stream adds to the process, in bytes; undefined where it cannot be read. */
  streams: { contender: string; bytes: Spread | undefined }[];
}

/** @param plan those to compare with; the bare Worker is the first */
export async function measurePeers(plan: Plan, upstream: string): Promise<Peers> {
  plan.progress('installing');
  await installPeers();
  const entrants = [...plan.entrants, { contender: portkey, start: () => startPortkey(upstream) }];
  const { comparisons } = await measureRounds({ ...plan, entrants });
  const streams = await measureStreams(entrants, plan);
  return { comparisons, streams };
}

/** A process of its own for each measurement: what one has grown by, it uses again. */
async function measureStreams(entrants: Entrant[], { rounds, progress }: Plan): Promise<Peers['streams']> {
  const measured = entrants.map((entrant) => ({ ...entrant, bytes: [] as (number | undefined)[] }));
  for (let round = 1; round <= rounds; round += 1) {
    for (const { contender, start, bytes } of round % 2 === 0 ? measured : measured.toReversed()) {
      progress(`open streams ${round} of ${rounds}: ${contender.name}`);
      bytes.push(await growthByStreams(contender, await start()));
    }
  }
  return measured.map(({ contender, bytes }) => {
    const known = bytes.filter((value) => value !== undefined);
    return { contender: contender.name, bytes: known.length === 0 ? undefined : spread(known) };
  });
}

async function growthByStreams(contender: Sender, server: Server): Promise<number | undefined> {
  const uploads = startChild(new URL('uploads.ts', import.meta.url));
  const send = async (answer: string, requests: number, holds: boolean) => {
    const order: UploadOrder = {
      origin: server.origin,
      path: contender.path,
      method: 'POST',
      headers: { 'anthropic-version': '2023-06-01', 'x-bench': answer, ...server.headers, ...contender.headers(0, 0) },
      body: { kind: 'message', bytes: burst.promptBytes },
      requests,
      holds,
    };
    uploads.send(order);
    const told = await nextMessage<{ result: Uploaded } | { error: string }>(uploads);
    if ('error' in told) throw new Error(`${contender.name}: ${told.error}`);
    const wrong = told.result.last.find((status) => status !== 200);
    if (wrong !== undefined) throw new Error(`${contender.name}: an open stream has status ${wrong}`);
  };
  // What is made once is no stream's. What many at a time would leave behind is: the streams would lie in it.
  for (let time = 0; time < WARMING_TIMES; time += 1) await send('burst', WARMING_REQUESTS, false);
  await sleep(AFTERWORK_MS);
  const before = residentBytes(server.pid);
  await send('open', OPEN_STREAMS, true);
  await sleep(AFTERWORK_MS);
  const after = residentBytes(server.pid);
  uploads.disconnect();
  await server.stop();
  return before === undefined || after === undefined ? undefined : (after - before) / OPEN_STREAMS;
}

export function peerTable({ comparisons, streams }: Peers, workloads: Plan['workloads']): string {
  const text = (value: Spread | undefined) =>
    value === undefined ? 'n/a' : `${number(value.median)} (${number(value.min)}–${number(value.max)})`;
  const blocks = workloads.flatMap(({ name, title }) => {
    const own = comparisons.filter(({ workload }) => workload === name);
    const names = [...new Set(own.map(({ contender }) => contender))];
    const cellsOf = (contender: string, side: 'base' | 'value') =>
      SHOWN.map((shown) => text(own.find((each) => each.contender === contender && each.figure === shown)?.[side]));
    return [
      [],
      [title, ...SHOWN.map((figure) => figures[figure].title)],
      ['  bare', ...cellsOf(names[0] ?? '', 'base')],
      ...names.map((contender) => [`  ${contender}`, ...cellsOf(contender, 'value')]),
    ];
  });
  const kilobytes = streams.map(({ contender, bytes }) => [
    `  ${contender}`,
    text(bytes && { median: bytes.median / 1000, min: bytes.min / 1000, max: bytes.max / 1000 }),
  ]);
  return align([...blocks.slice(1), [], [`memory of one of ${OPEN_STREAMS} open streams`, 'kB'], ...kilobytes]);
}
