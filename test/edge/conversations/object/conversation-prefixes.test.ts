import { runDurableObjectAlarm } from 'cloudflare:test';
import { describe, expect, test } from 'vitest';
import { readError } from '#test/support/app.ts';
import { installSimulator, stubOf } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import {
  authorizationFor,
  bindings,
  createProse,
  createSimulatedEdge,
  type SimulatedEdge,
  storePrefix,
  type Usage,
} from '#test/support/prefixes.ts';

const SUPPORT = { system: createProse(600), model: 'claude-opus-5-5', max_tokens: 64 };
const say = (content: string) => ({ messages: [{ role: 'user', content }] });

/** A turn, whole: what its cache did. */
async function turn(app: SimulatedEdge, id: string, body: object, headers: Record<string, string>): Promise<Usage> {
  const response = await app.post('/v1/messages', { conversation: id, ...body }, headers);
  const answer = (await response.json()) as { usage: Usage };
  if (response.status !== 200) throw new Error(JSON.stringify(answer));
  await app.waitUntilSettled();
  return answer.usage;
}

async function conversation(app: SimulatedEdge, id: string, headers: Record<string, string>) {
  const response = await app.fetch(`/conversations/${id}`, { headers });
  return (await response.json()) as { prefix?: string; model?: string; max_tokens?: number };
}

const values = async () => (await bindings.STORE.list({ prefix: 'prefix@' })).keys.length;

describe('a conversation with a prefix', () => {
  test("uses the prefix's history setting unless it has its own, and a prefix with another setting is another version", async () => {
    installSimulator();
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    const history = { max_tokens: 2_000, strategy: 'summarize', instructions: 'Keep the numbers.' };
    const { version } = await storePrefix(app, 'support', { ...SUPPORT, history }, alice);
    await turn(app, 'c1', { prefix: 'support', ...say('One') }, alice);
    expect(await conversation(app, 'c1', alice)).toMatchObject({ prefix: version, history });
    const own = { max_tokens: 9_000, strategy: 'truncate' };
    const created = await app.post('/conversations', { id: 'c2', prefix: 'support', history: own }, alice);
    expect(await created.json()).toMatchObject({ prefix: version, history: own });
    expect((await storePrefix(app, 'support', SUPPORT, alice)).version).not.toBe(version);
  });

  test('can be summarized if its prefix contains messages', async () => {
    installSimulator();
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    const history = { max_tokens: 2_000, strategy: 'summarize' };
    const messages = [
      { role: 'user', content: 'Who are you?' },
      { role: 'assistant', content: 'Acme’s desk.' },
    ];
    await storePrefix(app, 'support', { ...SUPPORT, messages, history }, alice);
    const fact = (n: number) =>
      `Box ${n} has come. ${'And so on. '.repeat(60)}Remember: box ${n} is number ${1_000 + n}.`;
    for (let n = 0; n < 12; n += 1)
      await turn(app, 'c1', { ...(n === 0 && { prefix: 'support' }), ...say(fact(n)) }, alice);
    const { summaries } = (await conversation(app, 'c1', alice)) as { summaries?: { content: string }[] };
    expect(summaries?.at(-1)?.content).toContain('Remember: box 0 is number 1000.');
  });

  for (const cache_ttl of ['5m', '1h'] as const) {
    test(`reads the whole prefix from the cache at its second turn, as do other conversations (${cache_ttl})`, async () => {
      installSimulator();
      const app = createSimulatedEdge();
      const alice = await authorizationFor('alice');
      const { input_tokens, version } = await storePrefix(app, 'support', { ...SUPPORT, cache_ttl }, alice);
      const first = await turn(app, 'c1', { prefix: 'support', ...say('One') }, alice);
      expect(first.cache_read_input_tokens).toBe(0);
      expect(first.cache_creation.ephemeral_1h_input_tokens > 0).toBe(cache_ttl === '1h');
      expect(await conversation(app, 'c1', alice)).toMatchObject({
        prefix: version,
        model: SUPPORT.model,
        max_tokens: 64,
      });
      // The simulator counts the three tokens of the request with the first block.
      const whole = input_tokens + 3;
      expect((await turn(app, 'c1', say('Two'), alice)).cache_read_input_tokens).toBeGreaterThan(whole);
      expect(
        (await turn(app, 'c1', { prefix: 'support', ...say('Three') }, alice)).cache_read_input_tokens,
      ).toBeGreaterThan(whole);
      expect(
        (await turn(app, 'c1', { prefix: version, ...say('Four') }, alice)).cache_read_input_tokens,
      ).toBeGreaterThan(whole);
      const own = { prefix: 'support', system: 'Be brief.', ...say('Other') };
      expect((await turn(app, 'c2', own, alice)).cache_read_input_tokens).toBe(whole);
    });
  }

  test('keeps its version after the name was updated or deleted, until the conversation and its fork are deleted', async () => {
    installSimulator();
    const app = createSimulatedEdge();
    const [alice, root] = [await authorizationFor('alice'), await authorizationFor('root', 'admin')];
    const old = await storePrefix(app, 'support', SUPPORT, root);
    const made = await app.post('/conversations', { id: 'c1', prefix: 'support', max_tokens: 32 }, alice);
    expect(made.status).toBe(201);
    expect(await made.json()).toMatchObject({ prefix: old.version, model: SUPPORT.model, max_tokens: 32 });
    await turn(app, 'c1', say('One'), alice);
    await storePrefix(app, 'support', { ...SUPPORT, system: 'Moved on.' }, root);
    expect(
      (await turn(app, 'c1', { prefix: 'support', ...say('Two') }, alice)).cache_read_input_tokens,
    ).toBeGreaterThan(old.input_tokens);
    await app.fetch('/prefixes/support', { method: 'DELETE', headers: root });
    expect(await values()).toBe(1);
    expect(
      (await turn(app, 'c1', { prefix: 'support', ...say('Three') }, alice)).cache_read_input_tokens,
    ).toBeGreaterThan(old.input_tokens);

    const rows = await app.fetch('/usage/requests', { headers: alice });
    const { data } = (await rows.json()) as { data: { prefix: string; conversation: string }[] };
    expect(data.map(({ prefix, conversation }) => [prefix, conversation])).toEqual(Array(3).fill([old.version, 'c1']));
    const usage = await app.fetch('/usage?group_by=prefix', { headers: alice });
    expect(await usage.json()).toMatchObject({ data: [{ key: old.version, requests: 3 }] });

    const fork = await app.post('/conversations/c1/fork', { id: 'c2' }, alice);
    expect(fork.status).toBe(201);
    await app.fetch('/conversations/c1', { method: 'DELETE', headers: alice });
    await eventually(async () => expect((await app.fetch('/conversations/c1', { headers: alice })).status).toBe(404));
    expect(await values()).toBe(1);
    expect((await turn(app, 'c2', say('Four'), alice)).cache_read_input_tokens).toBeGreaterThan(old.input_tokens);
    await app.fetch('/conversations/c2', { method: 'DELETE', headers: alice });
    // A call that does not come through at once is made again by an alarm, a quarter of a minute later: it is not waited for.
    await eventually(async () => {
      await runDurableObjectAlarm(stubOf('c2'));
      expect(await values()).toBe(0);
    });
  });

  test('rejects any other prefix', async () => {
    installSimulator();
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    const old = await storePrefix(app, 'support', SUPPORT, alice);
    const other = await storePrefix(app, 'support', { ...SUPPORT, system: 'Other.' }, alice);
    await storePrefix(app, 'second', SUPPORT, alice);
    await turn(app, 'c1', { prefix: old.version, ...say('One') }, alice);
    await turn(app, 'plain', { model: SUPPORT.model, max_tokens: 9, ...say('One') }, alice);
    for (const [id, prefix, message] of [
      [
        'c1',
        other.version,
        `prefix: this conversation uses ${old.version}, which cannot be changed. Remove this field, or start another conversation.`,
      ],
      [
        'c1',
        'second',
        `prefix: this conversation uses ${old.version}, which cannot be changed. Remove this field, or start another conversation.`,
      ],
      [
        'plain',
        'support',
        'prefix: cannot be added to a conversation that began without it. Remove it, or start another conversation.',
      ],
    ]) {
      const response = await app.post('/messages', { conversation: id, prefix, ...say('Two') }, alice);
      expect({ status: response.status, message: (await readError(response)).message }).toEqual({
        status: 400,
        message,
      });
    }
    await turn(app, 'c1', { prefix: 'support', ...say('Two') }, alice);
  });

  test('is not created with an unknown or invalid prefix, or one of another account', async () => {
    installSimulator();
    const app = createSimulatedEdge();
    const [alice, bob] = [await authorizationFor('alice'), await authorizationFor('bob')];
    const { version } = await storePrefix(app, 'support', SUPPORT, alice);
    const cases: [object, Record<string, string>, number][] = [
      [{ prefix: 'nothing' }, alice, 404],
      [{ prefix: version }, bob, 404],
      [{ prefix: 'a b' }, alice, 400],
      [{ prefix: version, messages: [] }, alice, 400],
    ];
    for (const [body, headers, status] of cases) {
      const response = await app.post('/messages', { conversation: 'c1', ...say('Hi'), ...body }, headers);
      expect({ body, status: response.status }).toEqual({ body, status });
      await response.text();
      await eventually(async () => expect((await app.fetch('/conversations/c1', { headers })).status).toBe(404));
    }
    for (const prefix of ['nothing', 'a b', 1]) {
      const response = await app.post('/conversations', { id: 'c1', prefix }, alice);
      expect(response.status).toBe(prefix === 'nothing' ? 404 : 400);
    }
    // What never began holds nothing.
    await app.waitUntilSettled();
    await app.fetch('/prefixes/support', { method: 'DELETE', headers: alice });
    await eventually(async () => expect(await values()).toBe(0));
  });

  test('releases the prefix if the first turn fails and the conversation is then created without it', async () => {
    installSimulator();
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    const { version } = await storePrefix(app, 'support', SUPPORT, alice);
    const body = { conversation: 'c1', prefix: version, ...say('Hi') };
    const refused = await app.post('/messages', body, { ...alice, 'sluice-simulate': 'status=529' });
    expect(refused.status).toBe(529);
    expect((await app.post('/conversations', { id: 'c1' }, alice)).status).toBe(201);
    await app.waitUntilSettled();
    await app.fetch('/prefixes/support', { method: 'DELETE', headers: alice });
    await eventually(async () => expect(await values()).toBe(0));
    expect(await (await app.fetch('/conversations/c1', { headers: alice })).json()).toMatchObject({ prefix: null });
  });

  test('accepts a lifetime of 1h after a prefix of 5m, and continues without it', async () => {
    installSimulator();
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    await storePrefix(app, 'support', SUPPORT, alice);
    const late = { cache_control: { type: 'ephemeral', ttl: '1h' } };
    await turn(app, 'c1', { prefix: 'support', ...say('Hi'), ...late }, alice);
    await turn(app, 'c1', say('More'), alice);
  });
});
