import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { describe, expect, test, vi } from 'vitest';
import { DEPLOYMENT, isAccountName } from '#edge/auth/identity/identity.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Account } from '#edge/money/account/account.ts';
import { computeVersionHash } from '#edge/money/versions/kv-copies.ts';
import { countWrittenRows } from '#test/support/conversations.ts';
import { bindings } from '#test/support/prefixes.ts';

const stub = () => getAccountStub(bindings, {}, 'alice') as unknown as Account;
const bytesOf = (text: string) => new TextEncoder().encode(text);
const version = (hash: string, text = hash, name = 'support') => ({
  kind: 'prefix',
  name,
  hash,
  bytes: bytesOf(text),
  description: null,
});
const id = (hash: string, name = 'support') => ({ kind: 'prefix', name, hash });
const pointer = (name = 'support') => bindings.STORE.get(`prefix:${name}:alice`);
const keys = async () => (await bindings.STORE.list()).keys.map(({ name }) => name);

function failing(until: { fails: boolean }): void {
  const store = Object.getPrototypeOf(bindings.STORE) as KVNamespace;
  const { put } = store;
  vi.spyOn(store, 'put').mockImplementation(function (this: KVNamespace, ...of: Parameters<KVNamespace['put']>) {
    return until.fails ? Promise.reject(new Error('KV PUT failed: 500')) : (put.apply(this, of) as Promise<void>);
  } as KVNamespace['put']);
}

test('names the deployment’s object so that no credential can have the name', () => {
  expect(isAccountName(DEPLOYMENT)).toBe(false);
});

describe('a stored version', () => {
  test('is written to the object and to KV before the call returns, for any size', async () => {
    const bytes = crypto.getRandomValues(new Uint8Array(60_000));
    const large = new Uint8Array(20 * 1024 * 1024);
    for (let at = 0; at < large.length; at += bytes.length) large.set(bytes.subarray(0, large.length - at), at);
    expect(await stub().putVersion({ ...version('h1'), bytes: large })).toMatchObject({
      outcome: 'stored',
      published: true,
    });
    const stored = await bindings.STORE.get('prefix@h1:support:alice', 'arrayBuffer');
    const same = await computeVersionHash(large);
    expect(await computeVersionHash(new Uint8Array(stored ?? new ArrayBuffer(0)))).toBe(same);
    expect(await computeVersionHash((await stub().readVersion(id('h1'), true)) ?? new Uint8Array(0))).toBe(same);
    expect(await pointer()).toBe('h1');
    expect(await stub().readVersion(id('h2'), true)).toBeUndefined();
  });

  test('needs eleven row writes, and none if nothing changes', async () => {
    // The first row of an account makes its tables.
    await stub().setLimits({});
    const rows = await countWrittenRows(getAccountStub(bindings, {}, 'alice'));
    await stub().putVersion(version('h1'));
    // The version, its piece and the name, that KV has been told of both, and the alarm that tells it after a crash; three
    // entries of indexes, and two sums.
    expect(rows()).toBe(11);
    await stub().putVersion(version('h1'));
    expect(rows()).toBe(11);
    await stub().pointVersion(id('h1'));
    expect(rows()).toBe(11);
  });

  test('is the version in KV after concurrent writes', async () => {
    const hashes = Array.from({ length: 12 }, (_, index) => `h${index}`);
    await Promise.all(hashes.map((hash) => stub().putVersion(version(hash))));
    const current = (await stub().findVersionedName('prefix', 'support'))?.hash;
    expect(await pointer()).toBe(current);
    await Promise.all([stub().removeName('prefix', 'support'), stub().putVersion(version('last'))]);
    expect(await pointer()).toBe((await stub().findVersionedName('prefix', 'support'))?.hash ?? null);
  });

  test('is written to KV by the alarm if the first write failed', async () => {
    const kv = { fails: true };
    failing(kv);
    expect(await stub().putVersion(version('h1'))).toMatchObject({ outcome: 'stored', published: false });
    expect(await runDurableObjectAlarm(getAccountStub(bindings, {}, 'alice'))).toBe(true);
    expect(await pointer()).toBeNull();
    kv.fails = false;
    expect(await runDurableObjectAlarm(getAccountStub(bindings, {}, 'alice'))).toBe(true);
    expect(await pointer()).toBe('h1');
    expect(await bindings.STORE.get('prefix@h1:support:alice')).toBe('h1');
  });

  test('is rejected beyond the maximum number of names', async () => {
    await stub().setLimits({});
    await runInDurableObject(getAccountStub(bindings, {}, 'alice'), async (_: Account, { storage }) => {
      storage.sql.exec(
        `insert into names (kind, name, hash, at, told) select 'prefix', 'n' || value, 'h', 1, 1 from
         (with recursive n(value) as (select 1 union all select value + 1 from n where value < 1001) select value from n)`,
      );
    });
    expect(await stub().putVersion(version('h1'))).toEqual({ outcome: 'too_many_names' });
    await stub().removeName('prefix', 'n1');
    await stub().removeName('prefix', 'n2');
    expect(await stub().putVersion(version('h1'))).toMatchObject({ outcome: 'stored' });
    expect(await stub().putVersion(version('h2'))).toMatchObject({ outcome: 'stored' });
    expect(await stub().putVersion(version('h1', 'x', 'one-more'))).toEqual({ outcome: 'too_many_names' });
  });
});

describe('a retained version', () => {
  test('is kept after its name is removed, until the last holder releases it', async () => {
    await stub().putVersion(version('h1'));
    await stub().putVersion(version('h2'));
    expect(await stub().retainVersion(id('h1'), 'c1')).toBe(true);
    expect(await stub().retainVersion(id('h1'), 'c1')).toBe(true);
    expect(await stub().retainVersion(id('h1'), 'c2')).toBe(true);
    expect(await stub().retainVersion(id('h3'), 'c1')).toBe(false);
    expect(await stub().removeName('prefix', 'support')).toMatchObject({ outcome: 'stored', published: true });
    expect(await keys()).toEqual(['prefix@h1:support:alice']);
    expect(await stub().readVersion(id('h2'), true)).toBeUndefined();
    await stub().releaseVersion(id('h1'), 'c1');
    await stub().releaseVersion(id('h1'), 'c1');
    expect(await stub().readVersion(id('h1'), true)).toEqual(bytesOf('h1'));
    await stub().releaseVersion(id('h1'), 'c2');
    expect(await stub().readVersion(id('h1'), true)).toBeUndefined();
    expect(await keys()).toEqual([]);
    expect(await stub().retainVersion(id('h1'), 'c3')).toBe(false);
  });

  test('is kept when it is released while its name exists', async () => {
    await stub().putVersion(version('h1'));
    await stub().putVersion(version('h2'));
    await stub().retainVersion(id('h1'), 'c1');
    await stub().releaseVersion(id('h1'), 'c1');
    expect(await stub().readVersion(id('h1'), true)).toEqual(bytesOf('h1'));
  });

  test('can be stored again after it was removed', async () => {
    await stub().putVersion(version('h1'));
    await stub().removeName('prefix', 'support');
    expect(await stub().putVersion(version('h1'))).toMatchObject({ outcome: 'stored', published: true });
    expect(await pointer()).toBe('h1');
    expect(await bindings.STORE.get('prefix@h1:support:alice')).toBe('h1');
  });
});

test('lists the history in pages, newest first', async () => {
  // An account's time never goes back: it has begun already.
  let now = Date.now() + 60_000;
  await runInDurableObject(getAccountStub(bindings, {}, 'alice'), (account: Account) => {
    Object.assign(account, { now: () => now });
  });
  for (const hash of ['h1', 'h2', 'h3', 'h4']) {
    now += 1;
    await stub().putVersion(version(hash));
  }
  const page = async (of: object) => {
    const history = await stub().listVersions('prefix', 'support', of);
    return { hashes: history?.data.map(({ version }) => version.slice(-2)), more: history?.has_more };
  };
  expect(await page({})).toEqual({ hashes: ['h4', 'h3', 'h2', 'h1'], more: false });
  expect(await page({ limit: 2 })).toEqual({ hashes: ['h4', 'h3'], more: true });
  expect(await page({ limit: 2, after_id: 'support@h3' })).toEqual({ hashes: ['h2', 'h1'], more: false });
  expect(await page({ limit: 2, before_id: 'support@h1' })).toEqual({ hashes: ['h3', 'h2'], more: true });
  expect(await page({ limit: 2, before_id: 'support@h3' })).toEqual({ hashes: ['h4'], more: false });
  expect(await stub().listVersions('prefix', 'other', {})).toBeUndefined();
});
