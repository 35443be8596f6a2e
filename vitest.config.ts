import { cloudflareTest } from '@cloudflare/vitest-plugin';
import { defineConfig } from 'vitest/config';

// Tests that start servers, browsers or builds run in Node; everything else runs in workerd.
const inNode = ['test/e2e/**/*.test.ts', 'test/scripts/**/*.test.ts', 'test/*.test.ts'];
// A busy machine needs more than the second that is the library's default.
const poll = { timeout: 15_000 };

export default defineConfig({
  test: {
    projects: [
      {
        plugins: [cloudflareTest({ wrangler: { configPath: './wrangler.toml' } })],
        // As `npm start` passes it, in place of wrangler.toml's.
        define: { SLUICE_SIMULATOR: 'true' },
        // Properties take as long as the machine needs; a test that hangs ends all the same.
        test: {
          name: 'workerd',
          include: ['test/**/*.test.ts'],
          exclude: inNode,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          expect: { poll },
        },
      },
      {
        test: {
          name: 'node',
          include: inNode,
          globalSetup: './test/support/build.ts',
          testTimeout: 60_000,
          hookTimeout: 120_000,
          expect: { poll },
        },
      },
    ],
  },
});
