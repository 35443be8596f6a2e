/**
 * Starts the edge in development mode: `npm start [-- --port 9000 --var NAME:value --persist-to DIR …]`. Port 0 is any
 * that is free.
 */
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { parseArgs } from 'node:util';
import { parseSettings } from '../src/settings.ts';
import { build } from './build.ts';
import { addSecrets, readDevVars } from './dev-vars.ts';

const DEFAULT_PORT = 8787;
const READY_TIMEOUT_MS = 60_000;

const args = process.argv.slice(2);
const { values } = parseArgs({
  args,
  strict: false,
  options: { port: { type: 'string' }, ip: { type: 'string' }, var: { type: 'string', multiple: true } },
});
const port = Number(values.port ?? DEFAULT_PORT);
const variables = Object.fromEntries(
  (values.var ?? []).map((pair) => {
    const [name = '', ...value] = String(pair).split(':');
    return [name, value.join(':')];
  }),
);

try {
  const given = { ...(await readDevVars()), ...variables };
  parseSettings({ ...given, MODE: 'development' });
  await addSecrets(given);
} catch (thrown) {
  stop(thrown instanceof Error ? thrown.message : String(thrown));
}
if (port !== 0 && !(await isFree(port))) {
  stop(`Port ${port} is taken. Stop what listens there, or choose another: npm start -- --port ${port + 1}`);
}

await build();
const server = spawn(
  process.execPath,
  [
    new URL('../node_modules/wrangler/bin/wrangler.js', import.meta.url).pathname,
    'dev',
    '--show-interactive-dev-session=false',
    ...['--inspector-port', '0'],
    ...(values.port === undefined ? ['--port', String(port)] : []),
    ...args,
    ...['--define', 'SLUICE_SIMULATOR:true', '--var', 'MODE:development'],
  ],
  {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    // Asked for offline, the placeholder for `request.cf` costs two stack traces.
    env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CLOUDFLARE_CF_FETCH_ENABLED: 'false' },
  },
);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => server.kill('SIGTERM'));
server.on('exit', (code) => process.exit(code ?? 0));

const late = setTimeout(() => {
  console.error('The edge does not answer yet. What is printed above says why.');
}, READY_TIMEOUT_MS);
server.on('message', (message) => void greet(message));

/** @param message what wrangler tells its parent: that it listens, and where */
async function greet(message: unknown): Promise<void> {
  const { event, ip, port: listening } = JSON.parse(String(message)) as { event: string; ip: string; port: number };
  if (event !== 'DEV_SERVER_READY') return;
  const url = `http://${ip}:${listening}`;
  try {
    const health = (await (await fetch(`${url}/health`)).json()) as { upstream?: string };
    console.log(welcome(url, health.upstream ?? 'unknown'));
  } catch (thrown) {
    console.error(`No answer from ${url}/health (${thrown}). What is printed above says why.`);
  } finally {
    clearTimeout(late);
  }
}

function welcome(url: string, upstream: string): string {
  const source =
    upstream === 'simulator'
      ? 'Answers come from the built-in simulator. For Claude, put ANTHROPIC_API_KEY in .dev.vars and start again.'
      : 'Answers come from the Claude API, by the key in .dev.vars or --var.';
  return `
Sluice is ready on ${url}
${source}

Try:
  curl -N ${url}/messages -H 'content-type: application/json' \\
    -d '{"model":"claude-haiku-5-5","max_tokens":200,"messages":[{"role":"user","content":"Hello, who are you?"}]}'

Or point any Claude client at it: ANTHROPIC_BASE_URL=${url}
Stop with Ctrl+C. Forget all local state with: npm run reset
`;
}

function isFree(candidate: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer()
      .once('error', () => resolve(false))
      .once('listening', () => probe.close(() => resolve(true)))
      .listen(candidate, typeof values.ip === 'string' ? values.ip : 'localhost');
  });
}

function stop(sentence: string): never {
  console.error(sentence);
  process.exit(1);
}
