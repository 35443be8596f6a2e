/**
 * Starts the edge on this machine: `npm start [-- --port 9000 --var NAME:value …]`, which is `sluice start` in a folder that
 * `sluice init` made. It checks the settings, prints where the edge is and who answers, and hands its terminal to `wrangler dev`,
 * which gets the same arguments.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire, flushCompileCache } from 'node:module';
import { type AddressInfo, createServer } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { createConfiguredUpstreams } from '../src/edge/claude/providers/entry.ts';
import { parseSettings, type Settings } from '../src/edge/config/settings.ts';
import './all-plugins.mjs';
import { printUsage } from './arguments.ts';
import { addSecrets, readDevVars, readEnvFile } from './dev-vars.ts';
import { findMisspeltSettings } from './misspelt-settings.ts';
import { onParentExit } from './parent.ts';
import { isInPackage, root } from './root.ts';
import { missingWebhookSecrets } from './webhook-secrets.ts';

/** The files in which wrangler looks for its configuration, in its order. */
const CONFIGURATIONS = ['wrangler.json', 'wrangler.jsonc', 'wrangler.toml'];
/** The port if the configuration has none: wrangler's own default. */
const PORT = '8787';
/** The options by which `wrangler dev` calls the Worker with another host than the one in the request. */
const HOST_OPTIONS = ['--host', '--local-upstream'];
const TOKEN = 'npm run token -- --account dev --scopes admin';
const TRY = `-H 'content-type: application/json' \\
    -d '{"model":"claude-haiku-5-5","max_tokens":2048,"messages":[{"role":"user","content":"Hello, who are you?"}]}'`;

printUsage(
  'npm start [-- --port 9000 --var NAME:value --env-file FILE], and all options of npx wrangler dev (see --help)',
);
const args = process.argv.slice(2);

try {
  const path = configurationPath();
  const text = path === undefined ? '' : await readFile(path, 'utf8');
  const config = await readConfiguration(path, text);
  rejectOtherHost(config?.dev.host);
  const settings = await readSettings(config?.vars);
  // Add missing secrets now: wrangler reads .dev.vars when it starts.
  const missing = missingWebhookSecrets(settings);
  const added = missing.length > 0 ? await addSecrets(missing) : [];
  if (added.length > 0) console.log(`Added generated values to .dev.vars: ${added.join(', ')}`);
  const [, configured = PORT] = /^\s*"?port"?\s*[=:]\s*(\d+)/m.exec(text) ?? [];
  const wanted = Number(valuesOf('--port').at(-1) ?? configured);
  if (!Number.isInteger(wanted)) throw new Error('The port must be a number. Example: npm start -- --port 9000');
  const port = await freePort(wanted);
  const protocol = valuesOf('--local-protocol').at(-1) ?? 'http';
  const url = `${protocol}://localhost:${port}`;
  console.log(`
Sluice starts on ${url}
${describeUpstream(settings)}

Try:
  curl -N ${url}/messages ${TRY}

Or point any Claude client at it: ANTHROPIC_BASE_URL=${url}
Stop with Ctrl+C. To delete all local state: ${isInPackage ? 'rm -r .wrangler/state' : 'npm run reset'}
`);
  const others = args.filter((arg, at) => !/^--port(=|$)/.test(arg) && args[at - 1] !== '--port');
  run(['dev', ...others, '--port', String(port)]);
} catch (thrown) {
  console.error(thrown instanceof Error ? thrown.message : String(thrown));
  process.exit(1);
}

/** @returns the path of wrangler's configuration; undefined if there is none */
function configurationPath(): string | undefined {
  const named = [...valuesOf('--config'), ...valuesOf('-c')].at(-1);
  if (named !== undefined) return resolve(root, named);
  return CONFIGURATIONS.map((name) => join(root, name)).find((path) => existsSync(path));
}

/**
 * Reads the variables and the host in wrangler's configuration. Reading it as wrangler does takes half a second, so it is only
 * read if it may have either.
 */
async function readConfiguration(config: string | undefined, text: string) {
  if (config === undefined || !/^[^#\n]*\b(vars|host)\b/m.test(text)) return undefined;
  const { unstable_readConfig } = await import('wrangler');
  return unstable_readConfig({ config, env: environmentName() }, { hideWarnings: true });
}

/**
 * Refuses to start under another host: wrangler then rewrites the host in all headers, so that the edge cannot compare them.
 *
 * @throws Error that names the option
 */
function rejectOtherHost(configured: string | undefined): void {
  const given = args.map(optionName).find((name) => HOST_OPTIONS.includes(name));
  const where = given ?? (configured === undefined ? undefined : '`host` in the section [dev] of the configuration');
  if (where === undefined) return;
  throw new Error(
    `Remove ${where}. With this setting, wrangler rewrites the host in every header, so a DNS-rebinding page looks as if it were served from localhost.`,
  );
}

/** @returns the name of an option as `--help` prints it: wrangler also accepts camelCase and `--name=value` */
function optionName(arg: string): string {
  return (arg.split('=')[0] ?? '').replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function environmentName(): string | undefined {
  return [...valuesOf('--env'), ...valuesOf('-e')].at(-1);
}

/**
 * Reads the settings as wrangler does, and prints those that are probably misspelt.
 *
 * @param vars the variables in wrangler's configuration
 * @throws Error that names a malformed one
 */
async function readSettings(vars: Record<string, unknown> = {}): Promise<Settings> {
  const named = await Promise.all(valuesOf('--env-file').map(readEnvFile));
  const files = named.length > 0 ? named : [await readDevVars(environmentName())];
  const given = Object.assign({}, vars, ...files, ...valuesOf('--var').map(parsePair));
  for (const remark of findMisspeltSettings(Object.keys(given))) console.error(remark);
  const settings = parseSettings(given, true);
  createConfiguredUpstreams(settings);
  return settings;
}

/** @returns the values of an option, which may be a list, as wrangler takes them: also `-cFILE` and `-c=FILE` */
function valuesOf(option: string): string[] {
  let isOpen = false;
  return args.flatMap((arg) => {
    if (!arg.startsWith('-')) return isOpen ? [arg] : [];
    const [name, ...value] = arg.replace(/^(-[^-])(?=[^=])/, '$1=').split('=');
    isOpen = name === option;
    return isOpen && value.length > 0 ? [value.join('=')] : [];
  });
}

function parsePair(text: string): Record<string, string> {
  const [name = '', ...value] = text.split(':');
  return { [name]: value.join(':') };
}

/** @returns a free port: the given one, or any for 0. @throws Error if the port is in use */
async function freePort(port: number): Promise<number> {
  let free = port;
  for (const host of ['127.0.0.1', '::1']) {
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', ({ code }: NodeJS.ErrnoException) => {
        // Any other error means that this machine does not have the address, for example `::1` without IPv6. Then the port is
        // not in use there.
        if (code !== 'EADDRINUSE') return resolve();
        reject(
          new Error(
            `Port ${port} is in use. Stop the process that uses it, or choose another port: npm start -- --port ${port + 1}`,
          ),
        );
      });
      server.listen(free, host, () => {
        free = (server.address() as AddressInfo).port;
        server.close(() => resolve());
      });
    });
  }
  return free;
}

function describeUpstream(settings: Settings): string {
  const { UPSTREAM, ANTHROPIC_API_KEY, hasKey } = settings;
  const upstreams = createConfiguredUpstreams(settings);
  const names = upstreams.map(({ name, isSimulated: simulated }) => (simulated ? `${name} (simulated)` : name));
  const isSimulated = UPSTREAM === 'simulator' || (UPSTREAM === undefined && ANTHROPIC_API_KEY === undefined);
  const who =
    upstreams.length > 0
      ? `Responses come from the upstreams in UPSTREAMS, tried in this order: ${names.join(', ')}.`
      : isSimulated
        ? 'Responses come from the built-in simulator. To use Claude, add ANTHROPIC_API_KEY=… to .dev.vars and start again.'
        : 'Responses come from the Claude API.';
  if (hasKey)
    return `${who}\nTo read stored data with curl or an SDK, send the token that this command prints: ${TOKEN}`;
  if (!existsSync(join(root, '.wrangler/state'))) return who;
  return `${who}\nNo key is set, so the data that is stored here can be read without a token.`;
}

/** Runs wrangler in this terminal, and ends as it does. */
function run(command: string[]): void {
  // Write the compile cache to the disk now, so that the build command, which loads the same modules, starts faster.
  flushCompileCache();
  const wrangler = dirname(createRequire(join(root, 'package.json')).resolve('wrangler/package.json'));
  const child = spawn(process.execPath, [join(wrangler, 'bin/wrangler.js'), ...command], {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      // Without this setting, wrangler asks Cloudflare for the location of this machine, and prints two stack traces if there
      // is no network.
      CLOUDFLARE_CF_FETCH_ENABLED: 'false',
      // Switch off wrangler's tracing, which takes a third of the Worker's CPU time (measured), and its explorer, which shows
      // the stored data.
      X_LOCAL_OBSERVABILITY: 'false',
      X_LOCAL_EXPLORER: 'false',
    },
  });
  // On Ctrl+C the terminal signals this process and wrangler, so only wait for wrangler to end. Other signals reach only this
  // process, so forward them.
  process.on('SIGINT', () => {});
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  onParentExit(() => child.kill());
  child.on('exit', (code) => process.exit(code ?? 1));
}
