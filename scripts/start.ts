/**
 * Starts the edge in development mode: `npm start [-- --port 9000 --var NAME:value --persist-to DIR …]`. Port 0 chooses a
 * free port. The public port belongs to this script: see proxy.ts.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { keyNameOf, type OpenUpstream, openUpstreams } from '../src/edge/claude/kinds/entry.ts';
import { parseSettings, type Settings } from '../src/edge/gate/settings/settings.ts';
import { START_SECRET_HEADER } from '../src/edge/kit/http/headers/hosts.ts';
import './all-rooms.mjs';
import { tellUsage } from './arguments.ts';
import { API_VERSION, askUpstream, MODELS_PATH } from './ask-upstream.ts';
import { build } from './build.ts';
import { addSecrets, closeDevVars, envFileOf, readDevVars, readEnvFile } from './dev-vars.ts';
import { hideInspector } from './inspector.ts';
import { misspeltSettings } from './misspelt-settings.ts';
import { npmRun, whenEnded } from './npm-run.ts';
import { type DevProxy, startProxy } from './proxy.ts';
import { makeStartFolder } from './start-folder.ts';
import { readStartOptions, START_USAGE, type StartOptions } from './start-options.ts';
import { judgePrices } from './unlisted-prices.ts';
import { unusedKey } from './unused-key.ts';
import { isShown } from './wrangler-lines.ts';

const READY_TIMEOUT_MS = 60_000;
const root = fileURLToPath(new URL('..', import.meta.url));

/** Read at once: npm may end before the server has started. */
const run = npmRun();
tellUsage(START_USAGE);

const secret = randomBytes(32).toString('base64url');
const { options, vars, priced, upstreams, asked, remarks } = await prepare();
// While everything else starts.
const asking = Promise.all(asked.map((one) => askUpstream(one)));
const proxy = await listen(options);
await build();
const hasInspector = options.passedOn.some((arg) => /^--inspector-?port\b/i.test(arg));

const folder = makeStartFolder();
/** The secret between the Worker and the proxy. It must never be on a command line, which others can read. */
const file = join(folder, 'vars');
writeFileSync(file, vars, { mode: 0o600 });
const built = join(folder, 'built');
writeFileSync(built, '');

const server = spawn(
  process.execPath,
  [
    ...['--import', new URL('end-with-parent.ts', import.meta.url).href],
    ...['--import', new URL('tell-builds.ts', import.meta.url).href],
    join(root, 'node_modules/wrangler/bin/wrangler.js'),
    'dev',
    '--show-interactive-dev-session=false',
    // Given only once: wrangler makes a list of two ports, and stops.
    ...(hasInspector ? [] : ['--inspector-port', '0']),
    // Plain `wrangler dev`, which cannot keep out all that this script keeps out, has the usual folder.
    ...(options.hasState ? [] : ['--persist-to', '.wrangler/edge']),
    ...options.passedOn,
    ...['--ip', '127.0.0.1', '--port', '0', '--local-protocol', 'http', '--env-file', file],
    ...['--define', 'SLUICE_SIMULATOR:true', '--var', 'MODE:development'],
  ],
  {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    env: {
      ...process.env,
      START_FOLDER: folder,
      SLUICE_BUILT: built,
      ...(hasInspector ? {} : await hideInspector(folder)),
      WRANGLER_SEND_METRICS: 'false',
      // What this script has not read, and so not checked, is no setting.
      CLOUDFLARE_INCLUDE_PROCESS_ENV: 'false',
      // Without this, wrangler fetches `request.cf`, and prints two stack traces if it is offline.
      CLOUDFLARE_CF_FETCH_ENABLED: 'false',
      // The explorer shows all stored data to anyone who finds the inner port.
      X_LOCAL_EXPLORER: 'false',
      // It stores a trace of each request for the explorer, which took a third of what the Worker's process computes.
      X_LOCAL_OBSERVABILITY: 'false',
      ...(process.stdout.isTTY ? { FORCE_COLOR: '1' } : {}),
    },
  },
);
const end = () => void server.kill('SIGTERM');
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end);
if (run) whenEnded(run, end);
// `close` comes after all output has been passed on.
server.on('close', (code) => process.exit(code ?? 1));
if (server.stdout) {
  createInterface(server.stdout).on('line', (line) => {
    if (isShown(line)) console.log(line);
  });
}

const late = setTimeout(() => {
  console.error('The edge does not answer yet. What is printed above says why.');
}, READY_TIMEOUT_MS);
server.on('message', (message) => {
  const { event, port = 0 } = JSON.parse(String(message)) as { event: string; port?: number };
  if (event === 'DEV_SERVER_READY') void greet(port);
  if (event === 'BUILD_FAILED' || event === 'BUILD_SERVED') proxy.setBroken(event === 'BUILD_FAILED');
});

/** Reads the settings, and prints a sentence if one is malformed. */
async function prepare(): Promise<{
  options: StartOptions;
  vars: string;
  priced: string[];
  upstreams: readonly OpenUpstream[];
  /** The upstreams that are asked whether they take their keys. */
  asked: Parameters<typeof askUpstream>[0][];
  /** What is odd about the settings. */
  remarks: readonly (string | undefined)[];
}> {
  try {
    const read = readStartOptions(process.argv.slice(2));
    const kept = await readDevVars(read.environment);
    const named = await Promise.all(read.envFiles.map((file) => readEnvFile(resolve(file))));
    const given = Object.assign({}, kept, ...named) as Record<string, string>;
    const settings = parseSettings({ ...given, ...read.variables, MODE: 'development', START_SECRET: secret });
    const upstreams = openUpstreams(settings);
    await addSecrets({ ...given, ...read.variables });
    for (const name of await closeDevVars(read.environment)) {
      console.error(
        `Others on this machine can read ${name}, and you do not own it: have its owner run chmod 600 ${name}`,
      );
    }
    const all = { ...(await readDevVars(read.environment)), ...given, START_SECRET: secret };
    return {
      options: read,
      vars: envFileOf(all),
      priced: Object.keys(settings.PRICES),
      upstreams,
      asked: upstreams.length > 0 ? upstreams.flatMap(askedOf) : askedAlone(settings),
      remarks: [
        ...misspeltSettings(Object.keys({ ...given, ...read.variables })),
        unusedKey(process.env, { ...given, ...read.variables }),
      ],
    };
  } catch (thrown) {
    stop(thrown instanceof Error ? thrown.message : String(thrown));
  }
}

function askedAlone({ ANTHROPIC_API_KEY: key, ANTHROPIC_BASE_URL, UPSTREAM }: Settings) {
  if (key === undefined || UPSTREAM === 'simulator') return [];
  const headers = { 'x-api-key': key, 'anthropic-version': API_VERSION };
  const url = ANTHROPIC_BASE_URL.replace(/\/+$/, '') + MODELS_PATH;
  return [{ name: 'The Claude API', setting: 'ANTHROPIC_API_KEY', request: () => ({ url, headers }) }];
}

/** @returns how one of UPSTREAMS is asked; nothing for one that has no list of models, or is simulated */
function askedOf(upstream: OpenUpstream) {
  const call = { method: 'GET', path: MODELS_PATH, headers: { 'anthropic-version': API_VERSION } };
  if (upstream.simulated || upstream.lacks(call) !== undefined) return [];
  const { signal } = new AbortController();
  const request = () => upstream.prepare(call, { signal, waitUntil: (work) => void work });
  return [{ name: `The upstream ${upstream.name}`, setting: keyNameOf(upstream.name), request }];
}

async function listen({ addresses, port, tls, isOpen }: StartOptions): Promise<DevProxy> {
  try {
    return await startProxy({ secret, addresses, port, tls, isOpen });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EADDRINUSE') stop(String(thrown));
    stop(`Port ${port} is taken. Stop what listens there, or choose another: npm start -- --port ${port + 1}`);
  }
}

/** Says where the edge is, and what is odd about its settings. @param port where wrangler listens */
async function greet(port: number): Promise<void> {
  proxy.pointTo(port);
  const [address = ''] = options.addresses;
  const host = ['127.0.0.1', '0.0.0.0'].includes(address)
    ? 'localhost'
    : address.includes(':')
      ? `[${address}]`
      : address;
  const url = `http${options.tls ? 's' : ''}://${host}:${proxy.port}`;
  try {
    console.log(welcome(url, (await upstreamOf(port)) ?? 'unknown'));
    const later = [...(await asking), await judgePrices(priced, () => askWorker(port, '/v1/models?limit=1000'))];
    for (const remark of [...remarks, ...later]) if (remark !== undefined) console.error(remark);
  } catch (thrown) {
    console.error(`No answer from ${url}/health (${thrown}). What is printed above says why.`);
  } finally {
    clearTimeout(late);
  }
}

async function upstreamOf(port: number): Promise<string | undefined> {
  const health = (await (await askWorker(port, '/health')).json()) as { upstream?: string };
  return health.upstream;
}

/** Sends a request to the Worker itself, as the proxy does. */
async function askWorker(port: number, path: string): Promise<Response> {
  return await fetch(`http://127.0.0.1:${port}${path}`, { headers: { [START_SECRET_HEADER]: secret } });
}

function sourceOf(upstream: string): string {
  if (upstreams.length > 0) {
    const names = upstreams.map(({ name, simulated }) => (simulated ? `${name} (simulated)` : name));
    return `Answers come from the upstreams of UPSTREAMS, in this order: ${names.join(', ')}.`;
  }
  return upstream === 'simulator'
    ? 'Answers come from the built-in simulator. For Claude, put ANTHROPIC_API_KEY in .dev.vars and start again.'
    : 'Answers come from the Claude API, by the key in .dev.vars or --var.';
}

function welcome(url: string, upstream: string): string {
  const open = options.isOpen ? '\nEverybody on your network can read every conversation and spend your key.' : '';
  return `
Sluice is ready on ${url}
${sourceOf(upstream)}
Each source of webhooks may spend $1 a day, until PUT /accounts/webhook-SOURCE/limits says otherwise.${open}

Try:
  curl -N ${url}/messages -H 'content-type: application/json' \\
    -d '{"model":"claude-haiku-5-5","max_tokens":2048,"messages":[{"role":"user","content":"Hello, who are you?"}]}'

Or point any Claude client at it: ANTHROPIC_BASE_URL=${url}
Stop with Ctrl+C. Forget all local state with: npm run reset
`;
}

function stop(sentence: string): never {
  console.error(sentence);
  process.exit(1);
}
