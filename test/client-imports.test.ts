import { expect, test } from 'vitest';
import { bundleForBrowser } from './support/bundle.ts';

test('the client has no dependencies', async () => {
  const client = await bundleForBrowser("export * from './src/client/index.ts';");
  expect(client).not.toMatch(/\bfrom\s*["']|\brequire\(|\bimport\(/);
});

test('the chat transport has no dependencies, not even the AI SDK', async () => {
  const transport = await bundleForBrowser("export * from './src/client/ai-sdk.ts';");
  expect(transport).not.toMatch(/\bfrom\s*["']|\brequire\(|\bimport\(/);
});
