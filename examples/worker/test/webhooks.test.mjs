/** Sends a signed event, and reads it after the queue has processed it. The built-in simulator classifies the text. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { createTestHarness } from 'wrangler';

// Otherwise wrangler asks Cloudflare where this machine is, and complains without a network.
process.env.CLOUDFLARE_CF_FETCH_ENABLED = 'false';
const configPath = new URL('../wrangler.toml', import.meta.url);
const secret = 'a secret for this test';
const vars = { ANTHROPIC_API_KEY: '', UPSTREAM: 'simulator', WEBHOOKS: '', GITHUB_WEBHOOK_SECRET: secret };
const server = createTestHarness({ workers: [{ configPath, vars }] });

before(() => server.listen());
after(() => server.close());

test('an event is accepted and classified', async () => {
  const issue = { id: 1, title: 'It crashes', body: 'This is a bug.', html_url: 'https://github.com/a/b/issues/1' };
  const body = JSON.stringify({ action: 'opened', issue, sender: { type: 'User' } });
  const accepted = await server.fetch('/webhooks/github', {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-github-event': 'issues',
      'x-github-delivery': 'first',
      'x-hub-signature-256': `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`,
    },
    body,
  });
  const { event_id, status } = await accepted.json();
  assert.equal(status, 'accepted');
  // The queue delivers the event within seconds.
  const deadline = Date.now() + 30_000;
  let event;
  do {
    await setTimeout(100);
    event = await (await server.fetch(`/webhooks/github/events/${event_id}`)).json();
  } while (event.state === 'accepted' && Date.now() < deadline);
  assert.equal(event.state, 'classified');
  assert.equal(event.label, 'bug');
});
