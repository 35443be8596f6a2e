/** The examples of the official SDK's own README, unedited, against the simulator as a server. */

import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { codeBlocksOf } from '#test/support/guides.ts';
import { root } from '#test/support/root.ts';
import { type SimulatorServer, startSimulatorServer } from '../../scripts/simulator-server.ts';

const readme = await readFile(join(root, 'node_modules/@anthropic-ai/sdk/README.md'), 'utf8');
const examples = ['js', 'ts', 'typescript'].flatMap((language) => codeBlocksOf(readme, language));

let simulator: SimulatorServer;

beforeAll(async () => {
  simulator = await startSimulatorServer(0);
});

afterAll(() => simulator.stop());

test('the README has examples', () => {
  expect(examples.length).toBeGreaterThan(0);
});

test.each(examples.map((code) => [code]))(
  'an example of the SDK’s README runs unchanged against the simulator: %s',
  async (code) => {
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module-typescript', '--eval', code], {
      cwd: root,
      env: { ...process.env, ANTHROPIC_BASE_URL: simulator.url, ANTHROPIC_API_KEY: 'any' },
    });
    expect(stdout).toContain("type: 'text'");
  },
);
