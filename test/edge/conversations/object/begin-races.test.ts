import { expect, test } from 'vitest';
import { requestEdge } from '#test/support/agents.ts';
import { createRouterEdge, isLabelRequest, lastTextOf, readLedger } from '#test/support/chosen-models.ts';
import { listMessages, readConversation, stubOf } from '#test/support/conversations.ts';
import { eventually, waitForCondition } from '#test/support/eventually.ts';

/** The edge whose label waits until it is let go. */
async function edgeHeld() {
  const state = { isGoing: false, asked: 0 };
  const edge = await createRouterEdge({
    before: async (body) => {
      if (!isLabelRequest(body) || !lastTextOf(body).includes('slow')) return;
      state.asked += 1;
      await waitForCondition(() => state.isGoing);
    },
  });
  return { ...edge, state };
}

type Edge = Awaited<ReturnType<typeof edgeHeld>>;

async function turn({ app, bob }: Edge, text: string, key: string, headers = bob) {
  const body = { agent: 'router', conversation: 'c1', messages: [{ role: 'user', content: text }] };
  const answer = await requestEdge(app, 'POST', '/v1/messages', { ...headers, 'idempotency-key': key }, body);
  return {
    key,
    status: answer.status,
    text: JSON.stringify(answer.body.content),
    error: JSON.stringify(answer.body.error),
  };
}

test('hundreds of turns during a model choice begin at most once per key, and the others get a 409', async () => {
  const edge = await edgeHeld();
  const first = turn(edge, 'slow and hard', 'k0');
  await eventually(() => expect(edge.state.asked).toBe(1));
  const all = Array.from({ length: 300 }, (_, nth) =>
    nth % 3 === 0 ? turn(edge, 'slow and hard', 'k0') : turn(edge, `easy ${nth}`, `k${nth}`),
  );
  const others = Promise.all(all);
  edge.state.isGoing = true;
  const answers = [await first, ...(await others)];
  await edge.app.waitUntilSettled();
  const same = answers.filter(({ key }) => key === 'k0');
  expect(new Set(same.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
  expect(same[0]?.status).toBe(200);
  const turns = (await listMessages('c1', 'bob')).filter(({ role }) => role === 'user');
  const done = new Set(answers.filter(({ status }) => status === 200).map(({ key }) => key));
  for (const { status, error } of answers) expect([200, 409], error).toContain(status);
  expect(turns).toHaveLength(done.size);
  expect(edge.up).toHaveLength(done.size);
  for (const row of await readLedger()) expect(row.status, JSON.stringify(row)).not.toBe('held');
});

const ENDS: readonly [what: string, end: (edge: Edge) => Promise<unknown>][] = [
  ['a stop', async () => await stubOf('c1', 'bob').stopRunningTurn()],
  ['a deletion', async ({ app, bob }) => await requestEdge(app, 'DELETE', '/conversations/c1', bob)],
];

test.each(ENDS)('%s during the model choice of a later turn prevents that turn', async (_, end) => {
  const edge = await edgeHeld();
  expect((await turn(edge, 'easy', 'k0')).status).toBe(200);
  const waiting = turn(edge, 'slow and hard', 'k1');
  await eventually(() => expect(edge.state.asked).toBe(1));
  await end(edge);
  edge.state.isGoing = true;
  const answer = await waiting;
  await edge.app.waitUntilSettled();
  expect(answer.status, answer.error).not.toBe(200);
  expect(edge.up).toHaveLength(1);
  expect((await listMessages('c1', 'bob')).filter(({ role }) => role === 'user').length).toBeLessThanOrEqual(1);
});

test('revoking a credential during a model choice prevents the turn', async () => {
  const edge = await edgeHeld();
  const { app, root } = edge;
  const minted = await requestEdge(app, 'POST', '/tokens', root, { account: 'bob', scopes: ['messages'] });
  const own = { authorization: `Bearer ${minted.body.token}` };
  const waiting = turn(edge, 'slow and hard', 'k1', own);
  await eventually(() => expect(edge.state.asked).toBe(1));
  const { jti, id = jti } = minted.body as { jti?: string; id?: string };
  const gone = await app.fetch(`/accounts/bob/tokens/${id}`, { method: 'DELETE', headers: root });
  expect(gone.status, await gone.text()).toBeLessThan(300);
  edge.state.isGoing = true;
  expect(await waiting).toMatchObject({ status: 401 });
  await app.waitUntilSettled();
  expect(edge.up).toHaveLength(0);
  expect([await readConversation('c1', 'bob'), await listMessages('c1', 'bob')]).toEqual([undefined, []]);
  for (const row of await readLedger()) expect(row.status, JSON.stringify(row)).not.toBe('held');
});
