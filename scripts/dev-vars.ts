import { randomBytes } from 'node:crypto';
import { appendFile, chmod, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parseEnv } from 'node:util';
import { SHIPPED_SOURCES } from '../src/edge/rooms/webhooks/shipped-sources.ts';
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
 * Makes the secrets that are not set, and appends them to `.dev.vars`, so that minting a token and sending a sample of a
 * webhook work at once.
 *
 * @param given the variables that are set, there or elsewhere
 */
export async function addSecrets(given: Readonly<Record<string, string>>): Promise<void> {
  const secrets = [
    ['SIGNING_SECRET', randomBytes(32).toString('base64url')],
    ...SHIPPED_SOURCES.map((source) => [
      `${source.toUpperCase()}_WEBHOOK_SECRET`,
      `whsec_${randomBytes(32).toString('base64')}`,
    ]),
  ];
  const lines = secrets.filter(([name = '']) => !given[name]).map((pair) => `${pair.join('=')}\n`);
  const text = await readText(FILE);
  if (lines.length === 0) return;
  const separator = text === undefined || text === '' || text.endsWith('\n') ? '' : '\n';
  await appendFile(FILE, separator + lines.join(''), { mode: 0o600 });
}

/**
 * Makes the files readable only for their owner: a copy of the example file is readable for everybody.
 *
 * @returns the names of files that stay readable, because they have another owner
 */
export async function closeDevVars(environment?: string): Promise<string[]> {
  const files = [FILE, ...(environment === undefined ? [] : [`${FILE}.${environment}`])];
  const open: string[] = [];
  for (const file of files) {
    const mode = (await stat(file).catch(() => undefined))?.mode ?? 0;
    if ((mode & 0o077) === 0) continue;
    await chmod(file, 0o600).catch(() => open.push(basename(file)));
  }
  return open;
}

/**
 * Writes variables in the form that wrangler reads. (It takes `$` for the start of another variable's name.)
 *
 * @throws Error for a value that has all kinds of quotes, so that it cannot be quoted
 */
export function envFileOf(variables: Readonly<Record<string, string>>): string {
  const lines = Object.entries(variables).map(([name, value]) => {
    const quote = ["'", '`'].find((mark) => !value.includes(mark));
    if (quote === undefined) throw new Error(`The value of ${name} has both kinds of quotes in it, ' and \`.`);
    return `${name}=${quote}${value.replaceAll('$', '\\$')}${quote}\n`;
  });
  return lines.join('');
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
