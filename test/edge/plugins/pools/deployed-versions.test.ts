import { runInDurableObject } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { getPoolStub } from '#edge/plugins/pools/call-pool.ts';
import { DeployedVersionList } from '#edge/plugins/pools/deployed-versions.ts';
import { Pool } from '#edge/plugins/pools/pool.ts';
import { bindings } from '#test/support/conversations.ts';
import { told } from './lease-calls.ts';

const NOON = Date.UTC(2026, 10, 20, 12);
const HOUR = 3_600_000;

/** A table `meta` in memory, and how often it was written. */
function createMeta() {
  const values = new Map<string, string>();
  const meta = {
    writes: 0,
    readMetaValue: (key: string) => values.get(key),
    writeMetaValue: (key: string, value: string | undefined) => {
      meta.writes += 1;
      values.set(key, value ?? '');
    },
  };
  return meta;
}

test('each change of the deployed version is listed once, also a return to an earlier one', () => {
  const meta = createMeta();
  for (const [nth, id] of ['one', 'one', 'two', 'one', undefined, ''].entries()) {
    const list = new DeployedVersionList(meta, id);
    list.recordCurrentVersion(NOON + nth * HOUR);
    list.recordCurrentVersion(NOON + nth * HOUR + 1);
  }
  expect(new DeployedVersionList(meta, undefined).listVersions()).toEqual([
    { id: 'one', since: '2026-11-20T12:00:00.000Z' },
    { id: 'two', since: '2026-11-20T14:00:00.000Z' },
    { id: 'one', since: '2026-11-20T15:00:00.000Z' },
  ]);
  expect(meta.writes).toBe(3);
});

test('only the last 50 changes of the deployed version are stored', () => {
  const meta = createMeta();
  for (let nth = 0; nth < 60; nth += 1) new DeployedVersionList(meta, `v${nth}`).recordCurrentVersion(NOON + nth);
  const versions = new DeployedVersionList(meta, undefined).listVersions();
  expect([versions.length, versions[0]?.id, versions.at(-1)?.id]).toEqual([50, 'v10', 'v59']);
});

test('the deployment’s pool records the deployed version when an account reports, and a group’s pool does not', async () => {
  const listAfterReport = async (name: string) =>
    await runInDurableObject(getPoolStub(bindings, {}, name), (_, state) => {
      const pool = new Pool(state, { ...bindings, CF_VERSION_METADATA: { id: 'a-version', tag: '', timestamp: '' } });
      Object.assign(pool, { now: () => NOON });
      pool.leaseJson(JSON.stringify(told('alice', 1, 0, NOON)));
      return pool.getPoolOverview({}, false).versions.filter(({ id }) => id === 'a-version');
    });
  expect(await listAfterReport('deployment')).toEqual([{ id: 'a-version', since: '2026-11-20T12:00:00.000Z' }]);
  expect(await listAfterReport('group:red')).toEqual([]);
});
