import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { INCIDENTS } from '../../scripts/drill-incidents.ts';
import { readGuide } from '../support/guides.ts';
import { root } from '../support/root.ts';

test('each incident of the drill is in the runbook, and there is no other one', async () => {
  const runbook = await readGuide('runbook');
  for (const { heading } of Object.values(INCIDENTS)) expect(runbook).toContain(`\n## ${heading}\n`);
  const child = spawn(process.execPath, ['scripts/drill.ts', '--only', 'nothing'], { cwd: root });
  let said = '';
  child.stderr.on('data', (piece: Buffer) => (said += piece.toString()));
  await once(child, 'close');
  expect(said).toContain('There is no incident nothing. There are key, budget, webhook, token, overloaded.');
});
