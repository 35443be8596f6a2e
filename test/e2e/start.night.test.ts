/** What a start says of what is not right, and who may read there. By day `e2e/start` has a malformed setting, and `auth` the rule. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectFailedStart, runNpmStart, type StartedProduct } from '#test/support/start.ts';

test('reports a port that is in use', async () => {
  const blocker = createServer();
  blocker.listen(0, '127.0.0.1');
  await once(blocker, 'listening');
  const { port } = blocker.address() as AddressInfo;
  const { code, stderr } = await expectFailedStart('--port', String(port));
  blocker.close();
  expect(code).toBe(1);
  expect(stderr).toContain(`Port ${port} is in use.`);
});

test.each([
  ['[{"name":"east","kind":"bedrock"}]', 'the entry "east": region must be'],
  ['[{"name":"east","kind":"anthropic"}]', 'The upstream "east" has no UPSTREAM_EAST_KEY'],
])('an invalid upstream stops the start, and the error names it: %s', async (upstreams, told) => {
  const { code, stderr } = await expectFailedStart('--var', `UPSTREAMS:${upstreams}`);
  expect(code).toBe(1);
  expect(stderr).toContain(told);
});

test('ends when npm has been killed', async () => {
  const edge = await runNpmStart();
  try {
    expect((await fetch(`${edge.url}/health`)).status).toBe(200);
    process.kill(edge.pid);
    const ask = async () => (await fetch(`${edge.url}/health`).catch(() => undefined))?.status;
    await expect.poll(ask).toBeUndefined();
  } finally {
    await edge.stop();
  }
});

describe('a development server with a key', () => {
  let edge: StartedProduct;

  beforeAll(async () => {
    edge = await runNpmStart(['--var', 'ANTHROPIC_API_KEY:sk-none', 'SINGING_SECRET:x']);
  });

  afterAll(() => edge.stop());

  test('prints at its start how to create a token, and suggests a name for a misspelled setting', () => {
    // npm repeats what it was told to run.
    const said = edge.output().replace(/^> .*/gm, '');
    expect(said).toContain('npm run token -- --account dev --scopes admin');
    expect(said).toContain('SINGING_SECRET is not a setting. Did you mean SIGNING_SECRET?');
    expect(said).not.toContain('sk-none');
  });

  test('returns no stored data for a forged host, and requires a token from a program that calls localhost', async () => {
    const { port } = new URL(edge.url);
    for (const path of ['/conversations', '/accounts', '/usage']) {
      const forged = { host: 'evil.test', 'mf-original-url': `http://localhost:${port}${path}` };
      expect(await statusOf(port, path, forged)).toBe(401);
      expect(await statusOf(port, path, { ...forged, origin: 'http://evil.test' })).toBe(403);
      expect(await statusOf(port, path, { host: 'evil.test' })).toBe(403);
      expect(await statusOf(port, path, { host: `localhost:${port}` })).toBe(401);
      const page = { host: `localhost:${port}`, origin: 'http://localhost:3000' };
      expect(await statusOf(port, path, page)).toBe(403);
      expect(await statusOf(port, path, { ...page, 'sec-fetch-site': 'same-site' })).toBe(200);
    }
  });
});

/** Sends a request with exactly these headers, as no browser would. */
async function statusOf(port: string, path: string, headers: Record<string, string>): Promise<number | undefined> {
  const outgoing = request({ host: '127.0.0.1', port, path, headers });
  const [incoming] = (await once(outgoing.end(), 'response')) as [IncomingMessage];
  incoming.resume();
  await once(incoming, 'end');
  return incoming.statusCode;
}
