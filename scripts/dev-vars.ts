import { randomBytes } from 'node:crypto';
import { appendFile, chmod, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { root } from './root.ts';

const FILE = join(root, '.dev.vars');

/**
 * Reads `.dev.vars`.
 *
 * @param environment the name of an environment in wrangler.toml, which may have its own file
 * @returns the secrets and variables of `.dev.vars`, or none if there is no such file
 */
export async function readDevVars(environment?: string): Promise<Record<string, string>> {
  const own = environment === undefined ? undefined : await readText(`${FILE}.${environment}`);
  return parse(own ?? (await readText(FILE)) ?? '');
}

/**
 * Reads another file of the same form.
 *
 * @throws Error for a file that cannot be read
 */
export async function readEnvFile(path: string): Promise<Record<string, string>> {
  return parse(await readFile(path, 'utf8'));
}

/**
 * Makes the secrets that are not in `.dev.vars`, and adds them to it, so that minting a token and sending a sample of a webhook
 * work at once. Then its owner alone can read the file: a copy of the example can be read by everybody on the machine.
 *
 * @param webhookSecrets the names of the secrets of webhooks
 * @returns the names of the added secrets
 */
export async function addSecrets(webhookSecrets: readonly string[]): Promise<string[]> {
  const text = await readText(FILE);
  const there = parse(text ?? '');
  const secrets = [
    ['SIGNING_SECRET', randomBytes(32).toString('base64url')],
    ...webhookSecrets.map((name) => [name, `whsec_${randomBytes(32).toString('base64')}`]),
  ];
  const added = secrets.filter(([name = '']) => !there[name]);
  if (added.length === 0) return [];
  const lines = added.map((pair) => `${pair.join('=')}\n`);
  const separator = text === undefined || text === '' || text.endsWith('\n') ? '' : '\n';
  await appendFile(FILE, separator + lines.join(''), { mode: 0o600 });
  await chmod(FILE, 0o600);
  return added.map(([name = '']) => name);
}

/** @returns the name of the secret of a shipped source */
export function secretOfSource(source: string): string {
  return `${source.toUpperCase()}_WEBHOOK_SECRET`;
}

function parse(text: string): Record<string, string> {
  return parseEnv(text) as Record<string, string>;
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw thrown;
  }
}
