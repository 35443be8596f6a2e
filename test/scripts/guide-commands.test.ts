import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { experimental_getWranglerCommands } from 'wrangler';
import { settingsShape } from '#edge/config/settings.ts';
import manifest from '../../package.json' with { type: 'json' };
import '../../scripts/all-plugins.mjs';
import { readGuides } from '#test/support/guides.ts';
import { root } from '#test/support/root.ts';
import { runScript } from '#test/support/run-script.ts';

/** What every command of wrangler takes. */
const GLOBAL = ['env'];

/** Secrets whose names an operator makes up, and what stands for any. */
const NAMED_BY_OPERATORS = /^(NAME|UPSTREAM_\w+_KEY|TOOL_SECRET_\w+|\w+_WEBHOOK_SECRET)$/;

let guides = '';

beforeAll(async () => {
  guides = [...(await readGuides()).values()].join('\n');
});

/** @returns the commands that begin so, each up to where its line, its code or the shell's own signs begin */
const commandsIn = (start: string) =>
  new Set([...guides.matchAll(new RegExp(`${start} ([^\\n\`|<>…]*[^\\s\`|<>…])`, 'g'))].map(([, words = '']) => words));
const optionsOf = (command: string) => [...command.matchAll(/ --([\w-]+)/g)].map(([, name = '']) => name);

test('every wrangler command in the guides exists with its options', () => {
  const { registry } = experimental_getWranglerCommands();
  const commands = commandsIn('npx wrangler');
  expect(commands.size).toBeGreaterThan(8);
  for (const command of commands) {
    let node: Pick<typeof registry, 'subtree'> & { definition?: object | undefined } = registry;
    const words = command.split(' ');
    for (let next = node.subtree.get(words[0] ?? ''); next; next = node.subtree.get(words[0] ?? '')) {
      words.shift();
      node = next;
    }
    const { args } = (node.definition ?? {}) as { args?: object };
    expect(args, `npx wrangler ${command}`).toBeDefined();
    for (const option of optionsOf(` ${command}`))
      expect([...Object.keys(args ?? {}), ...GLOBAL], command).toContain(option);
    // A word that is no option is a secret's name.
    const [name] = words;
    if (name === undefined || name.startsWith('--')) continue;
    if (!NAMED_BY_OPERATORS.test(name)) expect(Object.keys(settingsShape()), command).toContain(name);
  }
});

test('every npm script in the guides exists, and its help lists the options that the guides use', async () => {
  const used = new Map<string, Set<string>>();
  for (const command of [...commandsIn('npm run'), ...commandsIn('npm start')]) {
    const [script = '', ...words] = command.replace(/^--silent /, '').split(' ');
    const name = script === '--' ? 'start' : script.replace(/\W+$/, '');
    const ofScript = used.get(name) ?? new Set();
    for (const option of optionsOf(` ${words.join(' ')}`)) ofScript.add(option);
    used.set(name, ofScript);
  }
  expect([...used.keys()].filter((name) => !(name in manifest.scripts))).toEqual([]);
  for (const [script, options] of used) {
    const isOurs = new Map(Object.entries(manifest.scripts)).get(script) === `node scripts/${script}.ts`;
    if (options.size === 0 || !isOurs) continue;
    const { stdout } = await runScript(join(root, `scripts/${script}.ts`), ['--help']);
    for (const option of options) if (option !== 'help') expect(stdout, script).toContain(`--${option}`);
  }
});
