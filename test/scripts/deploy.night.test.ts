/** What wrangler itself would upload: by day a stand-in for it shows the rest. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { unstable_readConfig } from 'wrangler';
import { DeployCheckout } from '#test/support/deploy-checkout.ts';
import { root } from '#test/support/root.ts';

const { definedEnvironments = [] } = unstable_readConfig({ config: join(root, 'wrangler.toml') }) as {
  definedEnvironments?: string[];
};

let checkout: DeployCheckout;

beforeAll(async () => {
  checkout = await DeployCheckout.create();
});

afterAll(() => checkout.remove());

test('wrangler.toml defines environments besides the default one', () => {
  expect(definedEnvironments.length).toBeGreaterThan(0);
});

test.each(['', ...definedEnvironments])('a dry run of the deployment succeeds for the environment %o', (name) =>
  checkout.dryRun(name === '' ? [] : ['--env', name]),
);

test('a dry run of the deployment succeeds for the environment of the production guide', async () => {
  await checkout.addProduction();
  checkout.dryRun(['--env', 'production']);
});
