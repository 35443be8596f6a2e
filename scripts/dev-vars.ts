import { appendFile, readFile } from 'node:fs/promises';
import { parseEnv } from 'node:util';

const FILE = new URL('../.dev.vars', import.meta.url);

/** @returns the secrets and variables of `.dev.vars`, or none if there is no such file. */
export async function readDevVars(): Promise<Record<string, string>> {
  return parseEnv(await readText()) as Record<string, string>;
}

/** Keeps a setting in `.dev.vars`, behind what stands there. */
export async function addDevVar(name: string, value: string): Promise<void> {
  const text = await readText();
  const separator = text === '' || text.endsWith('\n') ? '' : '\n';
  await appendFile(FILE, `${separator}${name}=${value}\n`, { mode: 0o600 });
}

async function readText(): Promise<string> {
  try {
    return await readFile(FILE, 'utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw thrown;
  }
}
