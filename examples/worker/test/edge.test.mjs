/** Asks the edge in the runtime of Cloudflare on this machine. The built-in simulator answers: no key, no network, no cost. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createTestHarness } from 'wrangler';

// Otherwise wrangler asks Cloudflare where this machine is, and complains without a network.
process.env.CLOUDFLARE_CF_FETCH_ENABLED = 'false';
const configPath = new URL('../wrangler.toml', import.meta.url);
// Whatever your .dev.vars says.
const vars = { ANTHROPIC_API_KEY: '', UPSTREAM: 'simulator' };
const server = createTestHarness({ workers: [{ configPath, vars }] });

before(() => server.listen());
after(() => server.close());

test('the edge has all that its plugins need', async () => {
  const health = await (await server.fetch('/health')).json();
  assert.equal(health.upstream, 'simulator');
  assert.equal(health.warnings, undefined);
});

test('a conversation is answered, kept and counted', async () => {
  const answer = await server.fetch('/messages', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model: 'claude-haiku-5-5',
      max_tokens: 2_048,
      conversation: 'first',
      messages: [{ role: 'user', content: 'Hello' }],
    }),
  });
  assert.equal(answer.status, 200);
  assert.match(await answer.text(), /event: message_stop/);
  const { data } = await (await server.fetch('/conversations/first/messages')).json();
  assert.deepEqual(
    data.map(({ role }) => role),
    ['user', 'assistant'],
  );
});

test('the route of its own knows who asks', async () => {
  assert.deepEqual(await (await server.fetch('/whoami')).json(), { account: 'dev' });
});

test('an edge that requires credentials, as a deployment does, knows nobody without a token', async () => {
  const asDeployed = createTestHarness({ workers: [{ configPath, vars: { ...vars, CREDENTIALS: 'required' } }] });
  await asDeployed.listen();
  try {
    assert.equal((await asDeployed.fetch('/whoami')).status, 401);
    assert.equal((await asDeployed.fetch('/health')).status, 200);
  } finally {
    await asDeployed.close();
  }
});
