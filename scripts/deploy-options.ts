/** Checks the arguments of `npm run deploy` before anything is touched. */
import { nearestName } from './nearest-name.ts';

const USAGE = `npm run deploy [-- options]
Checks the settings, creates the queues that are missing, deploys the Worker, and asks its /health.
The options are those of wrangler:
`;

/** @returns what `--help` prints. @param help what \`wrangler deploy --help\` prints */
export function deployHelp(help: string): string {
  return `${USAGE}\n${help.slice(help.indexOf('GLOBAL FLAGS'))}`;
}

/**
 * Checks that wrangler knows every option.
 *
 * @param help what `wrangler deploy --help` prints
 * @throws Error that names an option which does not exist, and the one that was probably meant
 */
export function checkDeployOptions(args: readonly string[], help: string): void {
  const known = [...help.matchAll(/(?<=^|[\s,])--([a-z][a-z0-9-]*)/gm)].map(([, name = '']) => name);
  for (const arg of args) {
    const [, given] = /^--([^=]+)/.exec(arg) ?? [];
    if (given === undefined) continue;
    const name = given.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    if (known.includes(name) || known.includes(name.replace(/^no-/, '')) || known.includes(`no-${name}`)) continue;
    const meant = nearestName(name, known);
    throw new Error(
      `--${given} is no option of a deployment, and nothing was deployed.` +
        (meant === undefined ? ' All of them: npm run deploy -- --help' : ` Did you mean --${meant}?`),
    );
  }
}
