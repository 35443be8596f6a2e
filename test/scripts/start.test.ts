import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseSettings } from '#edge/config/settings.ts';
import { root } from '#test/support/root.ts';
import { runScript } from '#test/support/run-script.ts';
import { SECRET } from '#test/support/tokens.ts';
import '../../scripts/all-plugins.mjs';
import { missingWebhookSecrets } from '../../scripts/webhook-secrets.ts';

let folder = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-start-'));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

const start = (...args: string[]) => runScript(join(root, 'scripts/start.ts'), args);

test.each([
  [['--local-upstream', 'localhost:9000'], '--local-upstream'],
  [['--local-upstream=localhost:9000'], '--local-upstream'],
  [['--localUpstream', 'localhost:9000'], '--local-upstream'],
  [['--port', '9000', '--host', 'localhost:9000'], '--host'],
])('npm start rejects %j, because wrangler would rewrite the host', async (args, named) => {
  const { status, stderr } = await start(...args);
  expect([status, stderr]).toEqual([
    1,
    expect.stringContaining(`Remove ${named}. With this setting, wrangler rewrites the host`),
  ]);
});

test.each([
  ['wrangler.toml', 'name = "edge"\n[dev]\nhost = "localhost:9000"\n'],
  ['wrangler.jsonc', '{ "name": "edge", "dev": { "host": "localhost:9000" } }'],
])('npm start rejects a host in [dev] of %s', async (name, text) => {
  const file = join(folder, name);
  await writeFile(file, text);
  const { status, stderr } = await start('--config', file);
  expect([status, stderr]).toEqual([1, expect.stringContaining('Remove `host` in the section [dev]')]);
});

test('missingWebhookSecrets returns the unset secrets of the sources in WEBHOOKS, including custom sources', () => {
  const verify = { hmac: { header: 'x-shop-signature' } };
  const WEBHOOKS = JSON.stringify([
    { source: 'shop', secret: 'SHOP_WEBHOOK_SECRET', verify, id: '/id', text: ['/subject'] },
    { source: 'github', secret: 'OWN_WEBHOOK_SECRET' },
    { source: 'stripe', secret: 'STRIPE_WEBHOOK_SECRET' },
  ]);
  const vars = { WEBHOOKS, STRIPE_WEBHOOK_SECRET: 'whsec_that_is_set', SIGNING_SECRET: SECRET };
  expect(missingWebhookSecrets(parseSettings(vars, true))).toEqual(['SHOP_WEBHOOK_SECRET', 'OWN_WEBHOOK_SECRET']);
});
