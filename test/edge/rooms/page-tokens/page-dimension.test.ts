import { expect, test } from 'vitest';
import { ask, edgeWithSky, SKY } from '../../../support/agents.ts';
import { as } from '../../../support/prefixes.ts';
import { bearer, tokenOf } from '../../../support/tokens.ts';

const TALKING = { ...SKY, tools: [{ name: 'pick', input_schema: { type: 'object' } }] };

test('whether a page has asked is in rows, sums and CSV', async () => {
  const { app } = await edgeWithSky(TALKING, 'none');
  const page = bearer(await tokenOf('bob', ['messages'], { only: { agents: ['sky'] } }));
  const own = await as('bob', 'messages');
  const body = { agent: 'sky', messages: [{ role: 'user', content: 'Hello' }] };
  for (const [headers, more] of [
    [page, {}],
    [page, { conversation: 'web-1' }],
    [own, {}],
  ] as const) {
    expect((await ask(app, 'POST', '/v1/messages', headers, { ...body, ...more })).status).toBe(200);
  }
  const report = async (query: string, headers = own) => (await ask(app, 'GET', `/usage?${query}`, headers)).body;
  const { data } = (await report('group_by=page')) as { data: { key: string | null; requests: number }[] };
  expect(data.map(({ key, requests }) => [key, requests]).sort()).toEqual(
    [
      [null, 1],
      ['bound', 2],
    ].sort(),
  );
  const rows = (await report('').then(() => ask(app, 'GET', '/usage/requests', own))).body as {
    data: { page?: string }[];
  };
  expect(rows.data.map((row) => row.page).sort()).toEqual(['bound', 'bound', undefined]);
  const csv = await app.fetch('/usage?group_by=page&format=csv', { headers: own });
  expect(await csv.text()).toMatch(/^page,requests.*\r\n(.*\r\n)*bound,2,/);
  const exact = (await report('group_by=page&from=2020-01-01T00:00:01Z')) as { data: { key: string | null }[] };
  expect(exact.data.map(({ key }) => key).sort()).toEqual(['bound', null].sort());
  const refused = (await report('group_by=nothing')) as { error: { message: string } };
  expect(refused.error.message).toContain('page');
});
