import { randomBytes } from 'node:crypto';
import { appendFile, readFile } from 'node:fs/promises';
import { parseEnv } from 'node:util';
import { SHIPPED_SOURCES } from '../src/settings.ts';

const FILE = new URL('../.dev.vars', import.meta.url);

/** @returns the secrets and variables of `.dev.vars`, or none if there is no such file. */
export async function readDevVars(): Promise<Record<string, string>> {
  return parseEnv(await readText()) as Record<string, string>;
}

/**
 * Makes the secrets that nobody has set, and keeps them behind what stands in `.dev.vars`: so that minting a token works
 * at once, and so does sending a sample of a webhook.
 *
 * @param given what is set, there or elsewhere
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
  if (lines.length === 0) return;
  const text = await readText();
  const separator = text === '' || text.endsWith('\n') ? '' : '\n';
  await appendFile(FILE, separator + lines.join(''), { mode: 0o600 });
}

async function readText(): Promise<string> {
  try {
    return await readFile(FILE, 'utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw thrown;
  }
}
