// In workerd: what turns bytes into text there is the runtime's.
import 'cloudflare:workers';

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { computeEndUserHash, createUpstreamKey } from '#edge/claude/request/user-id.ts';
import { runAtOnce } from '#edge/kit/async/run-in-steps.ts';
import { encoder } from '#edge/kit/http/bytes.ts';
import { LongStringBody } from '#edge/kit/http/long-body.ts';
import { parseJsonInSteps, parseLongJsonInSteps } from '#edge/kit/http/read-json.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';

const parseJson = (bytes: Uint8Array) => runAtOnce(parseJsonInSteps(bytes));
const parseLong = (bytes: Uint8Array) => runAtOnce(parseLongJsonInSteps(bytes));
const LONGEST = 512;
const padding = 'x'.repeat(300_000);

test('computes the same end-user hash for long and short bodies, and none for overlong ids', async () => {
  const unit = fc.constantFrom('a', '~', 'ü', '漢', '🌊', '"', '\\', '\u0001');
  const id = fc.oneof(
    fc.string({ unit, minLength: 1, maxLength: 40 }),
    fc.string({ unit, minLength: 250, maxLength: 530 }),
  );
  await tryAsyncCases(100, id, async (user_id) => {
    const metadata = { user_id };
    const short = parseJson(encoder.encode(JSON.stringify({ metadata })));
    const long = parseLong(encoder.encode(JSON.stringify({ metadata, messages: [padding] })));
    expect(long).toBeInstanceOf(LongStringBody);
    expect(await computeEndUserHash(long)).toBe(await computeEndUserHash(short));
    expect((await computeEndUserHash(long)) === undefined).toBe(user_id.length > LONGEST);
  });
});

test('forwards a caller’s idempotency key unchanged if every upstream accepts it, and otherwise as a hash', async () => {
  const up = async (key: string, account = 'alice') =>
    await createUpstreamKey(new Headers({ 'idempotency-key': key }), account);
  const plain = fc.stringMatching(/^[\w.:-]{1,256}$/);
  const strange = fc.stringMatching(/^[!-~]{257,2000}$|^[!-~]{0,40}[/@~][!-~]{0,40}$/);
  await tryAsyncCases(100, plain, strange, async (key, other) => {
    expect(await up(key)).toMatch(/^[0-9a-f]{32}-/);
    expect((await up(key))?.slice(33)).toBe(key);
    expect(await up(other)).toMatch(/^[0-9a-f]{32}-[0-9a-f]{64}$/);
    expect(await up(other)).not.toBe(await up(`${other}a`));
    expect(await up(key)).not.toBe(await up(key, 'bob'));
  });
  expect(createUpstreamKey(new Headers(), 'alice')).toBeUndefined();
});
