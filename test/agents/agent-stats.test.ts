import { runDurableObjectAlarm } from 'cloudflare:test';
import { expect, test } from 'vitest';
import type { AgentStats } from '../../src/agents/agents-answers.schema.ts';
import { drawOf } from '../../src/agents/draw-arm.ts';
import { MINUTE_MS } from '../../src/async/durations.ts';
import { accountStub } from '../../src/durable/stubs.ts';
import { CHOICE_GROUPS } from '../../src/pricing/choice-sums.ts';
import { fromUsd } from '../../src/pricing/cost.ts';
import { ask } from '../support/agents.ts';
import { passTime } from '../support/calendar.ts';
import { CHOICE, edgeWithRouter, LARGE, ledgerOf, question, SMALL, store } from '../support/chosen-models.ts';
import { bindings } from '../support/conversations.ts';
import { as } from '../support/prefixes.ts';
import { SECRET } from '../support/tokens.ts';

/** Has an account tell what it has spent: two seconds after the first change it does by itself, and then once a minute. */
async function tell(account: string): Promise<void> {
  passTime(MINUTE_MS);
  await runDurableObjectAlarm(accountStub(bindings, {}, account));
}

const armOf = ({ arms }: AgentStats, name: string) => arms.find(({ arm }) => arm === name);

test('the stats of an agent are the sums of its ledger rows: by version, arm and model, exact to the nanodollar', async () => {
  const { app, root, bob, version } = await edgeWithRouter({ choice: { control: 0.5 } });
  const stats = async (query = '', by = bob) =>
    (await ask(app, 'GET', `/agents/router/stats${query}`, by)).body as unknown as AgentStats;
  expect(await stats()).toMatchObject({
    type: 'agent_stats',
    name: 'router',
    data: [],
    arms: [],
    days: [],
    saved: null,
  });
  const conversations = Array.from({ length: 8 }, (_, nth) => `c${nth}`);
  for (const conversation of conversations) {
    for (const text of ['easy', 'hard', 'hard']) await question(app, bob, text, { conversation });
  }
  const arms = await Promise.all(
    conversations.map(async (id) => ((await drawOf(`bob\n${id}`, SECRET)).share < 0.5 ? 'control' : 'chosen')),
  );
  const known = await stats();
  for (const arm of ['chosen', 'control']) {
    const count = arms.filter((one) => one === arm).length;
    expect(armOf(known, arm)).toMatchObject({ conversations: count, stepped_up: arm === 'chosen' ? count : 0 });
  }
  const rows = await ledgerOf();
  const costOf = (of: (row: (typeof rows)[number]) => boolean) =>
    rows.filter(of).reduce((sum, { cost_usd }) => sum + fromUsd(cost_usd), 0);
  expect(known.data.length).toBeGreaterThanOrEqual(3);
  for (const { arm, model, requests, cost_usd, ...one } of known.data) {
    const alike = (row: (typeof rows)[number]) => row.chosen_by?.arm === arm && row.model === model;
    expect({ version: one.version, requests, cost: fromUsd(cost_usd) }).toEqual({
      version,
      requests: rows.filter(alike).length,
      cost: costOf(alike),
    });
  }
  expect(known.data.reduce((sum, { cost_usd }) => sum + fromUsd(cost_usd), 0)).toBe(costOf(() => true));
  expect(known.days.reduce((sum, { cost_usd }) => sum + fromUsd(cost_usd), 0)).toBe(costOf(() => true));
  // Others see nothing of it, an admin all of it, as accounts have told.
  expect((await stats('', await as('carol', 'messages'))).data).toEqual([]);
  await tell('bob');
  expect(await stats('', root)).toEqual(known);
  expect((await stats('?version=router@00000000000000000000000000000000')).data).toEqual([]);
  expect((await stats('?to=2020-01-01')).data).toEqual([]);
  expect((await ask(app, 'GET', '/agents/nobody/stats', bob)).status).toBe(404);
  for (const query of ['from=never', 'version=router', 'version=other@00000000000000000000000000000000'])
    expect((await ask(app, 'GET', `/agents/router/stats?${query}`, bob)).status, query).toBe(400);
});

test('what users do to a bad answer is counted: asked again, edited or stopped', async () => {
  const { app, bob } = await edgeWithRouter();
  await question(app, bob, 'easy');
  await question(app, bob, 'A worse easy one.');
  const { body } = await ask(app, 'GET', '/conversations/c1/messages', bob);
  const ids = (body.data as { id: string }[]).map(({ id }) => id);
  await ask(app, 'POST', '/conversations/c1/rewind', bob, { before: ids[2] });
  await question(app, bob, 'A better easy one.');
  await question(app, bob, 'And another easy one.');
  const copy = await ask(app, 'POST', '/conversations/c1/fork', bob, { at: ids[1] });
  await question(app, bob, 'An easy one in the copy.', { conversation: copy.body.id });
  const stats = (await ask(app, 'GET', '/agents/router/stats', bob)).body as unknown as AgentStats;
  expect(armOf(stats, 'chosen')).toMatchObject({ conversations: 1, asked_again: 2, stepped_up: 0, stopped: 0 });
});

test('a first question that is asked again is one conversation, in the same arm, also in a copy', async () => {
  const { app, bob } = await edgeWithRouter({ choice: { control: 0.5 } });
  const arms = new Set<string>();
  for (const conversation of ['c1', 'c2', 'c3', 'c4']) {
    const first = async (id: string) => {
      const { body } = await ask(app, 'GET', `/conversations/${id}/messages`, bob);
      return (body.data as { id: string }[])[0]?.id;
    };
    const armIn = async (id: string) =>
      /arm=(\w+)/.exec((await question(app, bob, 'easy', { conversation: id })).chosen)?.[1];
    const arm = await armIn(conversation);
    arms.add(arm ?? '');
    await ask(app, 'POST', `/conversations/${conversation}/rewind`, bob, { before: await first(conversation) });
    expect(await armIn(conversation)).toBe(arm);
    const copy = String((await ask(app, 'POST', `/conversations/${conversation}/fork`, bob, {})).body.id);
    await ask(app, 'POST', `/conversations/${copy}/rewind`, bob, { before: await first(copy) });
    expect(await armIn(copy)).toBe(arm);
  }
  expect(arms.size).toBe(2);
  const { arms: counted } = (await ask(app, 'GET', '/agents/router/stats', bob)).body as unknown as AgentStats;
  const sum = (name: 'conversations' | 'asked_again') => counted.reduce((all, one) => all + one[name], 0);
  expect([sum('conversations'), sum('asked_again')]).toEqual([4, 8]);
});

test('what an account asks an agent of its own, of the same name and content, is not in the stats of the deployment’s', async () => {
  const { app, root, version } = await edgeWithRouter();
  const eve = await as('eve', 'messages', 'classify', 'prefixes');
  await store(app, eve, '/classifiers/difficulty', { labels: ['easy', 'middling', 'hard'], cache_seconds: 0 });
  const own = await store(app, eve, '/agents/router', { max_tokens: 64, system: 'router', model: CHOICE });
  expect(own.version).toBe(version);
  await question(app, eve, 'easy');
  const mine = (await ask(app, 'GET', '/agents/router/stats', eve)).body as unknown as AgentStats;
  expect(armOf(mine, 'chosen')).toMatchObject({ conversations: 1 });
  await tell('eve');
  const { body } = await ask(app, 'GET', '/usage?group_by=account', root);
  expect((body.data as { key: string }[]).map(({ key }) => key)).toContain('eve');
  expect((await ask(app, 'GET', '/agents/router/stats', root)).body.data).toEqual([]);
});

test('a message without a conversation counts as one, and a request that names its model is not compared', async () => {
  const { app, root, bob } = await edgeWithRouter();
  await store(app, root, '/agents/router', { max_tokens: 64, model: { ...CHOICE, overridable: true } });
  await question(app, bob, 'easy', { conversation: undefined });
  await question(app, { ...bob, 'sluice-model': LARGE }, 'easy', { conversation: 'c2' });
  const stats = (await ask(app, 'GET', '/agents/router/stats', bob)).body as unknown as AgentStats;
  expect(armOf(stats, 'chosen')).toMatchObject({ conversations: 1, requests: 2 });
  expect(armOf(stats, 'asked')).toMatchObject({ requests: 1 });
});

test('of enough conversations it says what was saved, with its bounds', async () => {
  const { app, root, bob, version } = await edgeWithRouter();
  const account = accountStub(bindings, {}, 'bob');
  for (let nth = 0; nth < 400; nth += 1) {
    const { group } = await drawOf(`bob\n${nth}`, SECRET);
    const arm = nth % 4 === 0 ? ('control' as const) : ('chosen' as const);
    const by = { label: null, classifier: null, arm, why: 'label' as const };
    const chosenBy = { ...by, part: 'first' as const, group, owner: 'deployment' as const };
    await account.settle({
      ...{ requestId: `req_${nth}`, status: 'complete', cost: (arm === 'control' ? 4_000 : 1_000) + (nth % 7) },
      opening: { route: 'messages', model: arm === 'control' ? LARGE : SMALL, agent: version, chosenBy },
    });
  }
  const stats = (await ask(app, 'GET', '/agents/router/stats', bob)).body as unknown as AgentStats;
  expect(armOf(stats, 'chosen')).toMatchObject({ conversations: 300 });
  expect(stats.saved?.share.value).toBeCloseTo(0.75, 2);
  expect(stats.saved?.share.low).toBeLessThan(0.75);
  expect(stats.saved?.usd.value).toBeCloseTo(300 * 3e-6, 6);
  expect(CHOICE_GROUPS).toBe(32);
  await tell('bob');
  const told = (await ask(app, 'GET', '/agents/router/stats', root)).body as unknown as AgentStats;
  expect(told).toEqual(stats);
});
