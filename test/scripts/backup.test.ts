import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { root } from '#test/support/root.ts';
import { runScript } from '#test/support/run-script.ts';

/** Runs a script against a deployment that includes the given plugins and requires a token. @returns the result, and the requested paths */
async function run(script: 'backup' | 'restore', plugins: readonly string[]) {
  const paths: string[] = [];
  const edge = createServer(({ url = '' }, response) => {
    paths.push(url);
    if (url === '/health') response.end(JSON.stringify({ plugins }));
    else response.writeHead(401).end('No credential.');
  });
  await once(edge.listen(0), 'listening');
  onTestFinished(() => void edge.close());
  const url = `http://localhost:${(edge.address() as AddressInfo).port}`;
  const env = { SLUICE_URL: url, SLUICE_TOKEN: undefined };
  return { ...(await runScript(join(root, 'scripts', `${script}.ts`), [], env)), paths };
}

test.each(['backup', 'restore'] as const)(
  'npm run %s reports once that the plugin `transfer` is missing, and sends no request after GET /health',
  async (script) => {
    const { status, stderr, paths } = await run(script, ['agents']);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^Backups require the plugin `transfer`, which this deployment does not include\..*\n$/);
    expect(paths).toEqual(['/health']);
  },
);

test('npm run backup reports that SLUICE_TOKEN is not set if the deployment requires a token', async () => {
  const { status, stderr } = await run('backup', ['transfer']);
  expect([status, stderr]).toEqual([1, expect.stringMatching(/^SLUICE_TOKEN is not set\..*\n$/)]);
});
