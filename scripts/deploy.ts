/**
 * Deploys the edge: `npm run deploy [-- --env staging --dry-run …]`, or `sluice deploy` in a folder that `sluice init` made.
 * It stops at what would break the edge or show a secret, makes the queues that are missing, and runs `wrangler deploy` with
 * the same arguments. What already exists is left as it is, so it can be run again at any time.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { unstable_readConfig } from 'wrangler';
import { listUpstreamKeySettingNames, parseUpstreams } from '../src/edge/claude/providers/entry.ts';
import { isUpstreamKey, parseSettings, settingsShape } from '../src/edge/config/settings.ts';
import { isToolSecret } from '../src/edge/config/tool-secrets.ts';
import { getSchemaDescription } from '../src/edge/kit/http/zod.ts';
import { isWebhookSecretName, sourcesOf } from '../src/edge/plugins/webhooks/source-settings.ts';
import './all-plugins.mjs';
import { printUsage } from './arguments.ts';
import { findMisspeltSettings } from './misspelt-settings.ts';
import { root } from './root.ts';

type Config = ReturnType<typeof unstable_readConfig>;

/**
 * Placeholders for the secrets without which other settings are rejected. The secrets are stored by Cloudflare, and must not be
 * in wrangler.toml.
 */
const STAND_INS = {
  SIGNING_SECRET: 'x'.repeat(32),
  DELIVERY_SIGNING_SECRET: `whsec_${'x'.repeat(32)}`,
  TURNSTILE_SECRET: 'x',
};

printUsage('npm run deploy [-- --env NAME] [--dry-run], and all options of npx wrangler deploy (see --help)');
const args = process.argv.slice(2);
const { values } = parseArgs({
  args,
  strict: false,
  options: { env: { type: 'string', short: 'e', default: '' }, 'dry-run': { type: 'boolean', default: false } },
});
if (typeof values.env !== 'string') stop('--env requires a name. Example: --env production');
// Reject a misspelt `--dry-run` here. Wrangler would reject it only after this script has created queues.
const misspelt = Object.keys(values).find((name) => name !== 'dry-run' && /^dry/i.test(name));
if (misspelt !== undefined) stop(`Unknown option --${misspelt}. Did you mean --dry-run?`);
const environment = values.env;

try {
  await deploy();
} catch (thrown) {
  console.error(`\n${thrown instanceof Error ? thrown.message : String(thrown)}`);
  process.exit(1);
}

function stop(sentence: string): never {
  console.error(sentence);
  process.exit(1);
}

async function deploy(): Promise<void> {
  const config = unstable_readConfig(
    { config: join(root, 'wrangler.toml'), env: environment || undefined },
    { hideWarnings: true },
  );
  checkSettings(config.vars);
  checkMigrations(config);
  if (!values['dry-run']) for (const queue of listQueues(config)) await createQueue(queue);
  // If wrangler.toml has several environments, wrangler warns when no `--env` is given. An empty name selects the top level.
  await show(['deploy', ...args, ...(environment === '' ? ['--env', ''] : [])]);
  if (values['dry-run']) return;
  const missing = await missingSecrets(config.vars);
  if (missing.length > 0) {
    console.log(`\nDeployed. Requests that need these secrets are rejected until you set them:`);
    for (const name of missing) console.log(`  ${secretCommand(name)}`);
    return;
  }
  console.log(`\nDeployed, and all secrets are set. Next, create a token with the SIGNING_SECRET of the deployment:
  SIGNING_SECRET=… npm run token -- --account you --scopes admin`);
}

/**
 * Checks the settings in wrangler.toml, and names those that are probably misspelt.
 *
 * @throws Error that names a malformed setting, or a secret, which must not be in that file
 */
function checkSettings(vars: Config['vars']): void {
  const shape = settingsShape();
  const isSecret = (name: string) =>
    (shape[name] && getSchemaDescription(shape[name])?.startsWith('Secret.')) ||
    [isUpstreamKey, isToolSecret, isWebhookSecretName].some((is) => is(name));
  const secret = Object.keys(vars).find(isSecret);
  if (secret !== undefined) {
    throw new Error(`${secret} is a secret. Remove it from wrangler.toml, and set it with: ${secretCommand(secret)}`);
  }
  for (const remark of findMisspeltSettings(Object.keys(vars))) console.error(remark);
  parseUpstreams(parseSettings({ ...STAND_INS, ...vars }));
}

/** @throws Error that names a class whose objects would have no database */
function checkMigrations({ durable_objects, migrations }: Config): void {
  const named = migrations.flatMap(({ new_sqlite_classes = [], renamed_classes = [] }) => [
    ...new_sqlite_classes,
    ...renamed_classes.map(({ to }) => to),
  ]);
  const bound = durable_objects.bindings as { name: string; class_name: string; script_name?: string }[];
  // Skip a class with `script_name`: it belongs to another Worker, which has its own migrations.
  const forgotten = bound.find(({ class_name, script_name }) => !script_name && !named.includes(class_name));
  if (forgotten === undefined) return;
  const { name, class_name } = forgotten;
  throw new Error(
    `${name} is bound to ${class_name}, which no migration names. Add to wrangler.toml, with a new tag:\n\n[[migrations]]\ntag = "v2"\nnew_sqlite_classes = ["${class_name}"]`,
  );
}

/** @returns the names of the queues, dead-letter queues too: wrangler makes the store, and no queue that has a name */
function listQueues({ queues }: Config): Set<string> {
  const { producers = [], consumers = [] } = queues as {
    producers?: { queue?: string }[];
    consumers?: { queue: string; dead_letter_queue?: string }[];
  };
  const names = [...producers.map(({ queue }) => queue), ...consumers.flatMap((c) => [c.queue, c.dead_letter_queue])];
  return new Set(names.filter((name) => name !== undefined));
}

async function createQueue(name: string): Promise<void> {
  const found = await run(['queues', 'info', name]);
  if (found.code === 0) return;
  if (!found.output.includes('does not exist')) throw commandError(`wrangler queues info ${name}`, found.output);
  const created = await run(['queues', 'create', name]);
  if (created.code !== 0) throw commandError(`wrangler queues create ${name}`, created.output);
  console.log(`Created the queue ${name}.`);
}

/** @returns the names of the secrets that the edge needs and does not have */
async function missingSecrets(vars: Config['vars']): Promise<string[]> {
  const listed = await run(['secret', 'list', '--env', environment, '--format', 'json']);
  if (listed.code !== 0) throw commandError('wrangler secret list', listed.output);
  const there = (JSON.parse(listed.stdout) as { name: string }[]).map(({ name }) => name);
  const settings = parseSettings({ ...STAND_INS, ...vars });
  const upstreams = parseUpstreams(settings);
  const needed = new Set([
    ...(upstreams.length > 0 ? listUpstreamKeySettingNames(upstreams) : ['ANTHROPIC_API_KEY']),
    ...(settings.JWKS_URL === undefined ? ['SIGNING_SECRET'] : []),
    ...Object.keys(STAND_INS).filter((name) => !isConfigured({ ...STAND_INS, ...vars, [name]: undefined })),
    ...[...sourcesOf(settings).values()].map(({ secret }) => secret),
  ]);
  return [...needed].filter((name) => !there.includes(name));
}

/** @returns whether an edge answers with these settings alone */
function isConfigured(vars: Config['vars']): boolean {
  try {
    parseSettings(vars);
    return true;
  } catch {
    return false;
  }
}

function secretCommand(name: string): string {
  return `npx wrangler secret put ${name}${environment === '' ? '' : ` --env ${environment}`}`;
}

function commandError(command: string, output: string): Error {
  return new Error(`\`${command}\` failed:\n${output.trim()}\nIf you are not logged in, run: npx wrangler login`);
}

/** Runs wrangler in the operator's terminal, so that it can ask questions. @throws Error where it fails */
async function show(command: string[]): Promise<void> {
  const code = await waitForExit(spawn('wrangler', command, { cwd: root, stdio: 'inherit' }));
  if (code !== 0) throw commandError(`wrangler ${command[0]}`, 'See the output above for the reason.');
}

/** Runs wrangler. @returns its output */
async function run(command: string[]): Promise<{ code: number | null; stdout: string; output: string }> {
  const child = spawn('wrangler', command, { cwd: root, stdio: ['inherit', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (piece: Buffer) => (stdout += piece.toString()));
  child.stderr.on('data', (piece: Buffer) => (stderr += piece.toString()));
  const code = await waitForExit(child);
  return { code, stdout, output: stdout + stderr };
}

function waitForExit(child: ReturnType<typeof spawn>): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once('error', () => reject(new Error('wrangler is not on the PATH. Use: npm run deploy')));
    child.once('close', resolve);
  });
}
