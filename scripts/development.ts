import { join } from 'node:path';
import { addSecrets, secretOfSource } from './dev-vars.ts';
import { UNSERVED, writeIfChanged } from './put.ts';

/** The module that wrangler puts in place of `#development`: wrangler.toml names it. */
const MODULE = join(UNSERVED, 'development.js');

/**
 * Configures the next bundle by wrangler's command: `wrangler dev` gets the simulator and the secrets that it needs, and every
 * other command gets neither.
 *
 * @param command that of wrangler, such as `dev`, `deploy` and `versions upload`
 * @param from where the module is that makes it one
 * @param sources the sources of webhooks that get a secret, too
 */
export async function setDevelopment(command: string, from: string, sources: readonly string[]): Promise<void> {
  const isDevelopment = command === 'dev';
  await writeIfChanged(
    MODULE,
    isDevelopment ? `export { develop } from '${from}';\n` : 'export function develop() {}\n',
  );
  if (isDevelopment) await addSecrets(sources.map(secretOfSource));
}
