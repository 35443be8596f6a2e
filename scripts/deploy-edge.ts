/** Deploys an edge: this one, or that of somebody who has the package. */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { keyNames, readUpstreams } from '../src/edge/claude/kinds/entry.ts';
import { isUpstreamKey, parseSettings, type Settings, settingsShape } from '../src/edge/gate/settings/settings.ts';
import { isToolSecret } from '../src/edge/gate/settings/tool-secrets.ts';
import { descriptionOf } from '../src/edge/kit/http/zod.ts';
import { isWebhookSecret, sourcesOf } from '../src/edge/rooms/webhooks/source-settings.ts';
import './all-rooms.mjs';
import { checkDeployOptions, deployHelp } from './deploy-options.ts';
import { misspeltSettings } from './misspelt-settings.ts';
import { readConfig } from './read-config.ts';
import { root } from './root.ts';

/** How long a new address may take until resolvers and certificates know it. */
const HEALTH_TIMEOUT_MS = 90_000;
const HEALTH_ATTEMPT_MS = 10_000;
const HEALTH_PAUSE_MS = 2_000;

/** Stand for the secrets without which other settings are refused: Cloudflare has them, and wrangler.toml must not. */
const STAND_INS = {
  SIGNING_SECRET: 'x'.repeat(32),
  DELIVERY_SIGNING_SECRET: `whsec_${'x'.repeat(32)}`,
  TURNSTILE_SECRET: 'x',
};

/** Makes what is uploaded. @returns the arguments by which `wrangler deploy` takes it */
type Prepare = (define: Record<string, string>) => Promise<string[]>;

/** Does what the arguments of this process say, and ends the process where that fails. */
export async function deployEdge(prepare: Prepare): Promise<void> {
  const args = process.argv.slice(2);
  const { values } = parseArgs({
    args,
    strict: false,
    options: {
      env: { type: 'string', short: 'e' },
      'dry-run': { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  const environment = typeof values.env === 'string' && values.env !== '' ? values.env : undefined;
  try {
    const help = await run(['deploy', '--help']);
    if (help.code !== 0) throw failed('wrangler deploy --help', help.output);
    if (values.help) console.log(deployHelp(help.stdout));
    else {
      checkDeployOptions(args, help.stdout);
      await deploy(prepare, { args, environment, isDry: values['dry-run'] === true });
    }
  } catch (thrown) {
    console.error(`\n${thrown instanceof Error ? thrown.message : String(thrown)}`);
    process.exit(1);
  }
}

/** What is asked of a deployment. */
interface Asked {
  args: readonly string[];
  /** The name of an environment in wrangler.toml. */
  environment: string | undefined;
  isDry: boolean;
}

async function deploy(prepare: Prepare, { args, environment, isDry }: Asked): Promise<void> {
  const secretCommand = secretCommandIn(environment);
  const config = readConfig(join(root, 'wrangler.toml'), environment);
  const settings = checkSettings(config.vars, secretCommand);
  for (const remark of misspeltSettings(Object.keys(config.vars))) console.error(remark);
  checkMigrations(config);
  const prepared = await prepare(config.define);
  // Without a name, wrangler warns that there are several environments.
  const deployArgs = ['deploy', ...prepared, ...args, ...(environment === undefined ? ['--env', ''] : [])];
  if (isDry) {
    await show(deployArgs);
    return;
  }
  for (const queue of queuesOf(config.queues as Queues)) await createQueue(queue);
  const address = await deployWorker(deployArgs);
  const secrets = await namesOfSecrets(environment);
  const missing = missingSecrets(settings, secrets).map(secretCommand);
  report(address, secrets, missing, await health(address));
  for (const { source, secret } of sourcesOf(settings).values()) {
    if (!secrets.includes(secret))
      console.log(`Webhooks of ${source} are not open until then: ${secretCommand(secret)}`);
  }
}

/** @throws Error that names a class whose objects would have no database */
function checkMigrations({ durable_objects, migrations }: ReturnType<typeof readConfig>): void {
  const named = migrations.flatMap(({ new_sqlite_classes = [], renamed_classes = [] }) => [
    ...new_sqlite_classes,
    ...renamed_classes.map(({ to }) => to),
  ]);
  const bound = durable_objects.bindings as { name: string; class_name: string; script_name?: string }[];
  // The objects of another Worker are that one's.
  const forgotten = bound.find(({ class_name, script_name }) => !script_name && !named.includes(class_name));
  if (forgotten === undefined) return;
  const { name, class_name } = forgotten;
  throw new Error(
    `${name} is bound to ${class_name}, which no migration names. Add to wrangler.toml, with a new tag:\n\n[[migrations]]\ntag = "v2"\nnew_sqlite_classes = ["${class_name}"]`,
  );
}

/**
 * Reads the settings that are deployed from wrangler.toml.
 *
 * @throws Error that names a malformed setting, or a secret, which must not stand in that file
 */
function checkSettings(vars: Record<string, unknown>, secretCommand: (name: string) => string): Settings {
  for (const [name, setting] of Object.entries(settingsShape())) {
    if (vars[name] === undefined || !descriptionOf(setting)?.startsWith('Secret.')) continue;
    throw new Error(`${name} is a secret: take it out of wrangler.toml, and set it with ${secretCommand(name)}`);
  }
  const key = Object.keys(vars).find((name) => isUpstreamKey(name) || isToolSecret(name) || isWebhookSecret(name));
  if (key !== undefined) {
    throw new Error(`${key} is a secret: take it out of wrangler.toml, and set it with ${secretCommand(key)}`);
  }
  if (vars.MODE !== undefined) throw new Error('MODE is passed by `npm start` alone: take it out of wrangler.toml.');
  const settings = parseSettings({ ...STAND_INS, ...vars });
  readUpstreams(settings);
  return settings;
}

/** The parts of wrangler.toml that are read here. */
interface Queues {
  producers?: { queue?: string }[];
  consumers?: { queue: string; dead_letter_queue?: string }[];
}

/** @returns the names of the queues, dead-letter queues too: wrangler does not create a queue that has a name */
function queuesOf({ producers = [], consumers = [] }: Queues): Set<string> {
  const names = [...producers.map(({ queue }) => queue), ...consumers.flatMap((c) => [c.queue, c.dead_letter_queue])];
  return new Set(names.filter((name) => name !== undefined));
}

async function createQueue(name: string): Promise<void> {
  const found = await run(['queues', 'info', name]);
  if (found.code === 0) return;
  if (!found.output.includes('does not exist')) throw failed(`wrangler queues info ${name}`, found.output);
  const created = await run(['queues', 'create', name]);
  if (created.code !== 0) throw failed(`wrangler queues create ${name}`, created.output);
  console.log(`Created the queue ${name}.`);
}

/** Deploys the Worker. @returns its URL, if it has one */
async function deployWorker(deployArgs: string[]): Promise<string | undefined> {
  const directory = await mkdtemp(join(tmpdir(), 'sluice-deploy-'));
  try {
    const file = join(directory, 'output.ndjson');
    await show(deployArgs, { WRANGLER_OUTPUT_FILE_PATH: file });
    const lines = (await readFile(file, 'utf8')).split('\n').filter((line) => line !== '');
    const entries = lines.map((line) => JSON.parse(line) as { type?: string; targets?: string[] | null });
    return addressOf(entries.find(({ type }) => type === 'deploy')?.targets ?? []);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Chooses from wrangler's list: a custom domain comes before the one at workers.dev. */
function addressOf(targets: string[]): string | undefined {
  const domain = targets.find((target) => target.includes('(custom domain'));
  if (domain !== undefined) return `https://${domain.split(' ')[0]}`;
  return targets.find((target) => /^https?:/.test(target))?.split(' ')[0];
}

/** @returns the names of the secrets that the edge has */
async function namesOfSecrets(environment = ''): Promise<string[]> {
  const listed = await run(['secret', 'list', '--env', environment, '--format', 'json']);
  if (listed.code !== 0) throw failed('wrangler secret list', listed.output);
  return (JSON.parse(listed.stdout) as { name: string }[]).map(({ name }) => name);
}

/** @returns the names of the secrets that the edge needs and does not have */
function missingSecrets(settings: Settings, names: string[]): string[] {
  const upstreams = readUpstreams(settings);
  const keys = upstreams.length > 0 ? keyNames(upstreams) : ['ANTHROPIC_API_KEY'];
  const needed = [...keys, ...(settings.JWKS_URL === undefined ? ['SIGNING_SECRET'] : [])];
  return needed.filter((name) => !names.includes(name));
}

interface Health {
  ok: boolean;
  /** The answer of `/health`, or why there is none. */
  said: string;
}

/** Asks until the edge itself answers, even if only that a setting is missing, or until the time is over. */
async function health(address: string | undefined): Promise<Health | undefined> {
  if (address === undefined) return undefined;
  const deadline = Date.now() + Number(process.env.HEALTH_TIMEOUT_MS ?? HEALTH_TIMEOUT_MS);
  for (;;) {
    let said: string;
    try {
      const response = await fetch(`${address}/health`, { signal: AbortSignal.timeout(HEALTH_ATTEMPT_MS) });
      said = await response.text();
      if (response.ok) return { ok: true, said };
      if (said.startsWith('{"type":"error"')) return { ok: false, said };
    } catch (thrown) {
      said = reasonOf(thrown);
    }
    if (Date.now() + HEALTH_PAUSE_MS > deadline) return { ok: false, said };
    await new Promise((resolve) => setTimeout(resolve, HEALTH_PAUSE_MS));
  }
}

function report(address: string | undefined, secrets: string[], missing: string[], found: Health | undefined): void {
  if (address === undefined) {
    console.log('\nSluice is deployed, and has no address of its own: call /health on the route that leads to it.');
  } else {
    console.log(`\nSluice is deployed on ${address}`);
  }
  if (missing.length > 0) {
    console.log('It answers nobody until it has its secrets. Next:');
    for (const command of missing) console.log(`  ${command}`);
    return;
  }
  if (found?.ok === false) throw new Error(`${address}/health does not answer as it should: ${found.said}`);
  if (found) console.log(`/health: ${found.said}`);
  if (secrets.some(isWebhookSecret)) {
    console.log(
      'Each source of webhooks may spend $1 a day, until PUT /accounts/webhook-SOURCE/limits says otherwise.',
    );
  }
  console.log(`Next, a token by the secret that it signs with:
  SIGNING_SECRET=… npm run token -- --account you --scopes admin`);
}

/** @returns what makes the command that sets a secret */
function secretCommandIn(environment: string | undefined): (name: string) => string {
  return (name) => `npx wrangler secret put ${name}${environment === undefined ? '' : ` --env ${environment}`}`;
}

function failed(command: string, output: string): Error {
  return new Error(`\`${command}\` failed:\n${output.trim()}\nIf you are not logged in: npx wrangler login`);
}

function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  return thrown.cause instanceof Error ? thrown.cause.message : thrown.message;
}

/** Runs wrangler in the operator's terminal, so that it can ask questions. */
async function show(command: string[], env: Record<string, string> = {}): Promise<void> {
  const child = spawn('wrangler', command, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, SLUICE_BUILT: 'true', ...env },
  });
  const code = await ended(child);
  if (code !== 0) throw failed(`wrangler ${command[0]}`, 'What is printed above says why.');
}

/** Runs wrangler. @returns its output */
async function run(command: string[]): Promise<{ code: number | null; stdout: string; output: string }> {
  const child = spawn('wrangler', command, { cwd: root, stdio: ['inherit', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (piece: Buffer) => (stdout += piece.toString()));
  child.stderr.on('data', (piece: Buffer) => (stderr += piece.toString()));
  const code = await ended(child);
  return { code, stdout, output: stdout + stderr };
}

function ended(child: ReturnType<typeof spawn>): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once('error', () => reject(new Error('There is no wrangler on the PATH. Run this as: npm run deploy')));
    child.once('close', resolve);
  });
}
