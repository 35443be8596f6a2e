import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from '#test/support/root.ts';
import { runScript } from '#test/support/run-script.ts';

const prove = (args: string[], key: string) =>
  runScript(join(root, 'scripts/prove.ts'), args, { ANTHROPIC_API_KEY: key, ANTHROPIC_BASE_URL: 'http://127.0.0.1:9' });

test('npm run prove prints the maximum cost of its calls, and sends none if it exceeds --most-usd', async () => {
  for (const most of ['0.10', 'much', '-1']) {
    const { status, stdout, stderr } = await prove([`--most-usd=${most}`], 'sk-ant-any-key');
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: 'This is more than --most-usd, so nothing was sent. Raise --most-usd, or skip calls with --without.\n',
    });
    expect(stdout).toMatch(/^24 calls, which cost at most \$0\.4\d{3} in total\.\n$/);
  }
  const [batch, less] = [await prove(['--batch'], ''), await prove(['--without', 'search'], '')];
  expect(batch.stdout).toMatch(/^2 calls, which cost at most \$0\.00/);
  expect(less.stdout).toMatch(/^23 calls, which cost at most \$0\.2/);
});

test('npm run prove sends nothing without a key', async () => {
  const { status, stderr } = await prove([], '');
  const says =
    'ANTHROPIC_API_KEY is not set in the environment or in .dev.vars, so nothing was sent. Set it, and run the command again.\n';
  expect({ status, stderr }).toEqual({ status: 1, stderr: says });
});
