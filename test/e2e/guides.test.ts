import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { modelOverride } from '#edge/claude/models/price-settings.ts';
import { messageDefaults } from '#edge/config/message-defaults.ts';
import { settingsShape } from '#edge/config/settings.ts';
import { visitorsSchema } from '#edge/config/visitors.ts';
import { getSchemaDescription } from '#edge/kit/http/zod.ts';
import { webhookSettings } from '#edge/plugins/webhooks/source-settings.ts';
import '../../scripts/all-plugins.mjs';
import { readGuide, readGuides } from '#test/support/guides.ts';
import { root } from '#test/support/root.ts';
import { openSharedEdge } from '#test/support/shared-start.ts';
import { type SimulatorServer, startSimulatorServer } from '../../scripts/simulator-server.ts';

const README_URL = 'http://localhost:8787';
const SIMULATOR_URL = 'http://localhost:4010';

/** What starts, tests, measures or deploys the product is tried elsewhere: it does not end, or not soon. */
const NOT_TOOLS = /^(npm install|npm start|npm pack|npm run (bench|deploy|simulator)|npx wrangler)/;

interface Example {
  command: string;
  shown: string;
}

/** Every `sh` block, with the `text` block behind it that shows what it prints. */
async function readExamples(): Promise<Example[]> {
  const text = [...(await readGuides()).values()].join('\n');
  return (
    [...text.matchAll(/```sh\n([\s\S]*?)```(?:\n+```text\n([\s\S]*?)```)?/g)]
      .map(([, command = '', shown = '']) => ({ command: command.trim(), shown }))
      // What needs a server of tools beside it is tried with one, in tools.test.ts; the guide's own plugin and source in toolkit.test.ts.
      .filter(
        ({ command }) =>
          /^(curl|npm run|node examples\/difficulty)/m.test(command) &&
          !NOT_TOOLS.test(command) &&
          !command.includes('"run": {"url"') &&
          !command.includes('/notes') &&
          !command.includes('/webhooks/tickets'),
      )
  );
}

/** Ids, times and counts differ from run to run; everything else must be what is shown. */
function settle(text: string): string {
  return text
    .replace(/\b(msg|req|turn|toolu|srvtoolu)_\w+/g, '$1_…')
    .replace(/eyJ[\w-]+\.eyJ\S+/g, 'token')
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, 'uuid')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'time')
    .replace(/\d+(\.\d+)?(e-\d+)?/g, '0')
    .replace(/\r/g, '')
    .trim();
}

let url: string;
let simulator: SimulatorServer;

const edge = openSharedEdge();
beforeAll(async () => {
  simulator = await startSimulatorServer(0);
  url = await edge();
});

afterAll(() => simulator.stop());

test('every request and small tool in the README and the guides prints the documented output', async () => {
  const examples = await readExamples();
  expect(examples.length).toBeGreaterThanOrEqual(17);
  const mint = ['run', '--silent', 'token', '--', '--account', 'you', '--scopes', 'admin'];
  const { stdout: token } = await promisify(execFile)('npm', mint, { cwd: root });
  // In the order of the page: later ones may build on what earlier ones made.
  for (const { command, shown } of examples) {
    const run = command.replaceAll(README_URL, url).replaceAll(SIMULATOR_URL, simulator.url);
    const { stdout } = await promisify(execFile)('bash', ['-c', run], {
      cwd: root,
      env: { ...process.env, SLUICE_URL: url, SLUICE_TOKEN: token.trim() },
    });
    expect(settle(stdout), command).toBe(settle(shown));
  }
});

test('the guide lists the settings of the code, with their defaults and descriptions', async () => {
  const guide = await readGuide('settings');
  const rows = [...guide.matchAll(/^\| `([A-Z0-9_]+)` +\| (.*?) +\| (.*?) +\|$/gm)].map(([, ...cells]) => cells);
  const expected = Object.entries(settingsShape()).map(([name, setting]) => {
    const { data: value } = setting.safeParse(undefined);
    const empty = value === undefined || JSON.stringify(value) === '{}' || JSON.stringify(value) === '[]';
    return [name, empty ? '' : `\`${value}\``, getSchemaDescription(setting)];
  });
  expect(rows).toEqual(expected);
});

test('the guide lists the fields of VISITORS, MESSAGE_DEFAULTS, WEBHOOKS and PRICES', async () => {
  const guide = await readGuide('settings');
  const listFields = (setting: string) => {
    const [, section = ''] = guide.split(`### \`${setting}\`\n`);
    const [table = ''] = section.split(/^#/m);
    const cells = [...table.matchAll(/^\| (`.+?`) +\|/gm)].map(([, cell = '']) => cell);
    return cells.flatMap((cell) => [...cell.matchAll(/`(\w+)`/g)].map(([, name = '']) => name)).toSorted();
  };
  const keysOf = (...shapes: object[]) => shapes.flatMap((shape) => Object.keys(shape)).toSorted();
  const { WEBHOOKS } = webhookSettings.shape;
  expect(listFields('VISITORS')).toEqual(keysOf(visitorsSchema.shape));
  expect(listFields('MESSAGE_DEFAULTS')).toEqual(keysOf(...messageDefaults.def.options.map(({ shape }) => shape)));
  expect(listFields('WEBHOOKS')).toEqual(keysOf(WEBHOOKS.def.innerType.def.out.def.element.shape));
  expect(listFields('PRICES')).toEqual(keysOf(modelOverride.shape));
});
