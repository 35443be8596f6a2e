import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { SECRET } from '#test/support/tokens.ts';
import { createWebhookVars } from '#test/support/webhook-vars.ts';

const MOST_ROUNDS = 10;
const ENTRIES = 2_000;
/** To hash the body for each would cost thousands; to send and read so long a header costs up to a half. */
const MOST = 2;
/** As long as the edge reads it: what is longer is refused unread. */
const BODY = `{"text":"${'x'.repeat(1024 * 1024 - 11)}"}`;

let edge: Edge;

beforeAll(async () => {
  edge = await startEdge(inject('deployed').code, {
    SIGNING_SECRET: SECRET,
    ANTHROPIC_API_KEY: 'none',
    ...createWebhookVars('stripe'),
    STRIPE_WEBHOOK_SECRET: 'whsec_of-the-tests-only',
  });
});

afterAll(() => edge.stop());

/** Sends a forged webhook. @returns what its answer took, in milliseconds of CPU */
async function forged(entries: number): Promise<number> {
  // A header holds some hundreds of the right length, and for thousands of others.
  const signatures = Array.from({ length: entries }, (_, n) => `v1=${n.toString(16).padStart(n < 500 ? 64 : 8, '0')}`);
  const headers = {
    'content-type': 'application/json',
    'stripe-signature': `t=${Math.floor(Date.now() / 1_000)},${signatures.join(',')}`,
  };
  const before = edge.cpuMs();
  const response = await fetch(`${edge.url}/webhooks/stripe`, { method: 'POST', headers, body: BODY });
  const text = await response.text();
  const took = edge.cpuMs() - before;
  expect([response.status, text]).toEqual([401, expect.stringContaining('is invalid')]);
  return took;
}

test('a request with two thousand forged signatures takes less than twice the CPU time of one with a single signature', async () => {
  // The least of some: whatever else the edge does only adds to it.
  let [one, many] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (let round = 0; round < MOST_ROUNDS && !(round >= 3 && many / one < MOST); round += 1) {
    one = Math.min(one, await forged(1));
    many = Math.min(many, await forged(ENTRIES));
  }
  expect(many / one).toBeLessThan(MOST);
});
