/** What a start says of what is not right. By day a malformed setting shows it, and the tests of scripts/ each sentence. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { failedStart, npmStart } from '../support/start.ts';

test('a port that is taken is told in a sentence that names it', async () => {
  const blocker = createServer();
  const port = await new Promise<number>((resolve) => {
    blocker.listen(0, 'localhost', () => {
      const address = blocker.address();
      resolve(typeof address === 'object' && address ? address.port : 0);
    });
  });
  const { code, stderr } = await failedStart('--port', String(port));
  blocker.close();
  expect(code).toBe(1);
  expect(stderr).toContain(`Port ${port} is taken.`);
});

test('a key that the upstream refuses is told at the start, and so is a misspelt setting', async () => {
  const paths: (string | undefined)[] = [];
  const upstream = createServer((asked, answer) => {
    paths.push(asked.url);
    answer.writeHead(401).end('{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}');
  });
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
  const { port } = upstream.address() as AddressInfo;
  const vars = [
    `ANTHROPIC_BASE_URL:http://127.0.0.1:${port}`,
    'ANTHROPIC_API_KEY:sk-wrong',
    'UPSTREAM:anthropic',
    'SINGING_SECRET:x',
  ];
  const started = await npmStart(['--var', ...vars]);
  try {
    await expect.poll(() => started.output()).toContain('It says (401): {"type":"error"');
    expect(started.output()).toContain('SINGING_SECRET is no setting. Did you mean SIGNING_SECRET?');
    expect(paths).toEqual(['/v1/models?limit=1']);
  } finally {
    await started.stop();
    upstream.close();
  }
});

test.each([
  ['[{"name":"east","kind":"bedrock"}]', 'the entry "east": region must be'],
  ['[{"name":"east","kind":"anthropic"}]', 'The upstream "east" has no UPSTREAM_EAST_KEY'],
])('an upstream that is not right stops the start with its name: %s', async (upstreams, told) => {
  const { code, stderr } = await failedStart('--var', `UPSTREAMS:${upstreams}`);
  expect(code).toBe(1);
  expect(stderr).toContain(told);
});
