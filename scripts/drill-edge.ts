/** Starts what a drill needs: an edge as `npm start` makes it, and stand-ins for the Claude API and for a webhook's receiver. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { mintToken } from '../src/auth/mint.ts';
import { SHIPPED_SOURCES } from '../src/settings/shipped-sources.ts';
import { createSimulator } from '../src/toolkit/simulator.ts';
import { envFileOf, readDevVars } from './dev-vars.ts';

const READY = /^Sluice is ready on (\S+)$/;
/** The name of the only upstream, as `/health?upstreams` shows it. */
const UPSTREAM = 'claude';

/** The admin by whom the drill breaks things and mends them. Its lines are left out of the log: a real incident has no such. */
const DRILL = 'drill';

export type LogLine = Readonly<Record<string, unknown>>;

/** A line of the log, and how it stands in the file: the time of day in UTC before it. */
export interface Logged {
  line: LogLine;
  text: string;
}

/** An edge that can be broken. */
export interface DrillEdge {
  url: string;
  /** Its settings, but for those of which `npm start` takes the default. */
  settings: Readonly<Record<string, string>>;
  /** The file that has its log. */
  logFile: string;
  log: readonly Logged[];
  /** The credential of the admin by whom the drill acts. */
  token: string;
  webhookSecret: string;
  /** What the Claude API answers in place of the simulator; undefined while it works. */
  fault: ((model: string) => Response | undefined) | undefined;
  /** The status that the receiver of webhooks answers. */
  receiverStatus: number;
  /** Resolves when the edge has ended by itself. */
  ended: Promise<never>;
  stop(): Promise<void>;
}

/**
 * Starts the edge, and waits until it is ready.
 *
 * @param folder where its state and its log are
 * @throws Error with what the edge has printed, if it does not start
 */
export async function startDrillEdge(folder: string): Promise<DrillEdge> {
  const simulate = createSimulator({ ttftMs: 0, tokensPerSecond: 0 });
  const upstream = await listen(async (request) => {
    const text = await request.text();
    const { model = '' } = (text.startsWith('{') ? JSON.parse(text) : {}) as { model?: string };
    const { method, headers, url } = request;
    return edge.fault?.(model) ?? (await simulate(url, { method, headers, ...(text === '' ? {} : { body: text }) }));
  });
  const receiver = await listen(async () => new Response(null, { status: edge.receiverStatus }));
  const webhookSecret = secret();
  const vars = join(folder, 'vars');
  const signing = secret();
  const settings = settingsOf(upstream.url, receiver.url, { webhook: webhookSecret, signing });
  // Nothing of what `.dev.vars` has reaches the edge, no key and no address.
  const emptied = Object.fromEntries(Object.keys(await readDevVars()).map((name) => [name, '']));
  writeFileSync(vars, envFileOf({ ...emptied, ...settings }), { mode: 0o600 });
  const { token } = await mintToken(signing, { account: DRILL, scopes: ['admin'] });
  const args = ['--port', '0', '--persist-to', join(folder, 'state'), '--env-file', vars];
  const script = fileURLToPath(new URL('start.ts', import.meta.url));
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  // It may still be starting when the drill is ended.
  process.on('exit', () => void child.kill('SIGTERM'));
  const exited = once(child, 'exit');
  const printed: string[] = [];
  const log: Logged[] = [];
  const logFile = join(folder, 'log.txt');
  writeFileSync(logFile, '');
  const ready = new Promise<string>((resolve) => {
    const take = (line: string) => {
      const url = READY.exec(line)?.[1];
      if (url !== undefined) resolve(url);
      if (!line.startsWith('{"')) return void printed.push(line);
      const read = JSON.parse(line) as LogLine;
      if (read.account === DRILL) return;
      const text = `${new Date().toISOString().slice(11, 19)} ${line}`;
      log.push({ line: read, text });
      appendFileSync(logFile, `${text}\n`);
    };
    for (const input of [child.stdout, child.stderr]) createInterface({ input }).on('line', take);
  });
  const ended = exited.then((): never => {
    throw new Error(`The edge has ended:\n${printed.join('\n')}`);
  });
  // Whoever waits for something else is told when it waits for this.
  ended.catch(() => {});
  const stop = async () => {
    child.kill('SIGTERM');
    await exited;
    for (const server of [upstream, receiver]) server.close();
  };
  const edge: DrillEdge = {
    ...{ url: '', settings, logFile, log, token, webhookSecret, fault: undefined, receiverStatus: 204, ended, stop },
  };
  try {
    edge.url = await Promise.race([ready, ended]);
  } catch (thrown) {
    await stop();
    throw thrown;
  }
  return edge;
}

const secret = () => `whsec_${randomBytes(32).toString('base64')}`;

function settingsOf(upstream: string, receiver: string, secrets: { webhook: string; signing: string }) {
  const sources = SHIPPED_SOURCES.map((source) => [`${source.toUpperCase()}_WEBHOOK_SECRET`, secrets.webhook]);
  return {
    UPSTREAMS: JSON.stringify([{ name: UPSTREAM, kind: 'anthropic', base_url: upstream }]),
    UPSTREAM_MAX_RETRIES: '0',
    DEPLOYMENT_LIMITS: '{}',
    GITHUB_WEBHOOK_DELIVER_URL: receiver,
    [`UPSTREAM_${UPSTREAM.toUpperCase()}_KEY`]: 'the-key-of-the-drill',
    SIGNING_SECRET: secrets.signing,
    DELIVERY_SIGNING_SECRET: secret(),
    ...(Object.fromEntries(sources) as Record<string, string>),
  };
}

/** Listens on this machine. @param answer gets requests whole, and its answer is sent whole */
async function listen(answer: (request: Request) => Promise<Response>): Promise<{ url: string; close(): void }> {
  const server = createServer(async (incoming, outgoing) => {
    const { method = 'GET', url = '/', headers } = incoming;
    try {
      const body = Buffer.concat(await incoming.toArray());
      const more = method === 'GET' || method === 'HEAD' ? {} : { body };
      const sent = new Headers(Object.entries(headers).map(([name, value]) => [name, String(value)]));
      const response = await answer(new Request(`http://localhost${url}`, { method, headers: sent, ...more }));
      outgoing.writeHead(response.status, Object.fromEntries(response.headers));
      outgoing.end(Buffer.from(await response.arrayBuffer()));
    } catch (thrown) {
      // For the edge that is an upstream which fails: it is in its log.
      outgoing.writeHead(500).end(String(thrown));
    }
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
