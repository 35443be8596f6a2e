import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { bundle } from './support/bundle.ts';

/** Each method of conversations, batches and agents takes some tens of bytes. */
const LIMIT_BYTES = 7_000;

test('the client is at most 7 kB, compressed, and needs nothing else', async () => {
  const client = await bundle("export * from './src/client/index.ts';");
  expect(gzipSync(client, { level: 9 }).length).toBeLessThanOrEqual(LIMIT_BYTES);
  expect(client).not.toMatch(/\bfrom\s*["']|\brequire\(|\bimport\(/);
});

test('the chat transport brings nothing of the AI SDK with it', async () => {
  const transport = await bundle("export * from './src/client/ai-sdk.ts';");
  expect(gzipSync(transport, { level: 9 }).length).toBeLessThanOrEqual(LIMIT_BYTES);
});
