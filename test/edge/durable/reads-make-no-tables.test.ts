import { listDurableObjectIds, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, test } from 'vitest';
import { disableAutomaticAlarms } from '#test/support/pending-work.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';
import { smallEdge } from '../money/account/small-edge.ts';

const namespaces = env as unknown as Record<
  'ACCOUNT' | 'POOL' | 'CONVERSATION' | 'BATCH' | 'INBOX',
  DurableObjectNamespace
>;
const READS = [
  '/accounts',
  '/accounts?sort=spent',
  '/accounts/nobody',
  '/accounts/nobody/credit',
  '/accounts/nobody/tokens',
  '/accounts/nobody/export',
  '/usage',
  '/usage?group_by=account',
  '/usage?account=nobody&group_by=tag',
  '/usage/requests',
  '/usage/requests?outcome=refused',
  '/usage/requests?account=nobody&outcome=refused',
  '/usage/requests/req_01m7w6qhfxbt0tfvnmx89rna1z',
  '/groups',
  '/groups/nobody',
  '/groups/nobody/accounts',
  '/pools/deployment',
  '/conversations',
  '/conversations/nothing',
  '/prefixes',
  '/agents',
  '/classifiers',
  '/v1/messages/batches',
  '/v1/files',
  '/alerts',
];

const NAMES = ['ACCOUNT', 'POOL', 'CONVERSATION', 'BATCH', 'INBOX'] as const;

/** @returns the objects that there are, by their ids: a file before may have killed some, which nobody empties */
async function objects() {
  const lists = NAMES.map(async (name) =>
    (await listDurableObjectIds(namespaces[name])).map((id) => [String(id), { name, id }] as const),
  );
  return new Map((await Promise.all(lists)).flat());
}

test('a read creates no tables in any object except the account of its caller', async () => {
  disableAutomaticAlarms();
  const before = await objects();
  const edge = smallEdge({ DEPLOYMENT_LIMITS: '{"usd_per_day":1}' });
  const headers = bearerHeader(await createToken('root', ['admin']));
  for (const path of READS) {
    const response = await edge.fetch(path, { headers });
    expect(response.status, path).toBeLessThan(500);
    await response.text();
  }
  await edge.waitUntilSettled();
  const made: string[] = [];
  for (const [key, { name, id }] of await objects()) {
    if (before.has(key)) continue;
    const tables = await runInDurableObject(namespaces[name].get(id), (_, { storage }) =>
      storage.sql.exec("select name from sqlite_master where name not like '%cf%'").toArray(),
    );
    // Whoever reads is noted with the credential, which is a write of their own.
    const isReader = name === 'ACCOUNT' && id.equals(namespaces.ACCOUNT.idFromName('root'));
    if (tables.length > 0 && !isReader) made.push(name);
  }
  expect(made).toEqual([]);
});
