import { fileURLToPath } from 'node:url';
import { cloudflareTest } from '@cloudflare/vitest-plugin';
import { defineConfig } from 'vitest/config';

// Tests that start servers, browsers or builds, and simulated objects, run in Node; everything else runs in workerd.
const inNode = ['test/e2e/**/*.test.ts', 'test/scripts/**/*.test.ts', 'test/simulation/**/*.test.ts', 'test/*.test.ts'];
// Properties, and what is waited for, take as long as the machine needs; what hangs ends all the same.
const patience = { testTimeout: 300_000, hookTimeout: 300_000, expect: { poll: { timeout: 60_000 } } };

/** How many hostile requests are tried, and from which seed on: a failure is repeated by its seed. */
const { FUZZ_RUNS = '1000', FUZZ_SEED = '1' } = process.env;
const fuzz = { FUZZ_RUNS: String(Number(FUZZ_RUNS)), FUZZ_SEED: String(Number(FUZZ_SEED)) };

export default defineConfig({
  test: {
    projects: [
      {
        plugins: [cloudflareTest({ wrangler: { configPath: './wrangler.toml' } })],
        // As `npm start` passes it, in place of wrangler.toml's.
        define: { SLUICE_SIMULATOR: 'true', ...fuzz },
        test: {
          name: 'workerd',
          include: ['test/**/*.test.ts'],
          exclude: inNode,
          ...patience,
        },
      },
      {
        resolve: {
          alias: { 'cloudflare:workers': fileURLToPath(new URL('./test/simulation/workers.ts', import.meta.url)) },
        },
        test: {
          name: 'node',
          include: inNode,
          globalSetup: './test/support/build.ts',
          ...patience,
        },
      },
    ],
  },
});
