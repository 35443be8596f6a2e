import { describe, expect, test, vi } from 'vitest';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { requestEdge, runWholeTurn, SKY } from '#test/support/agents.ts';
import { installSimulator } from '#test/support/conversations.ts';
import { authorizationFor, bindings, createSimulatedEdge, type SimulatedEdge } from '#test/support/prefixes.ts';
import { resetAll } from '#test/support/reset.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  TOOL_VARS,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';

type Headers = Record<string, string>;
const MESSAGES = [{ role: 'user', content: 'Hi' }];
const MODEL = { model: 'claude-opus-5-5', max_tokens: 16 };
const hashOf = (version: unknown) => String(version).split('@')[1] ?? '';
const saidBy = ({ status, body }: { status: number; body: JsonObject }) => {
  const { type, message } = (body.error ?? {}) as JsonObject;
  return status < 300 ? String(status) : `${status} ${type}: ${message}`;
};

/** What is stored in two versions, and how a caller uses one of them. */
const KINDS: Record<string, { path: string; body(n: number): object; use(ref: string): [string, object] }> = {
  agent: {
    path: '/agents',
    body: (n) => ({ ...MODEL, system: `Agent ${n}.` }),
    use: (agent) => ['/v1/messages', { agent, conversation: crypto.randomUUID(), messages: MESSAGES }],
  },
  prefix: {
    path: '/prefixes',
    body: (n) => ({ ...MODEL, system: `Prefix ${n}.` }),
    use: (prefix) => ['/v1/messages', { prefix, messages: MESSAGES }],
  },
  classifier: {
    path: '/classifiers',
    body: (n) => ({ labels: ['a', `b${n}`] }),
    use: (classifier) => ['/classify', { classifier, input: 'Hi' }],
  },
};

describe.each(Object.entries(KINDS))('a version of a stored %s that is not current', (kind, { path, body, use }) => {
  /** Stores two versions of `x`, the second of which is current. */
  async function twoVersions(app: SimulatedEdge, owner: Headers) {
    installSimulator();
    const versions: string[] = [];
    for (const n of [1, 2])
      versions.push(String((await requestEdge(app, 'PUT', `${path}/x`, owner, body(n))).body.version));
    return versions as [string, string];
  }
  const used = async (app: SimulatedEdge, ref: string, who: Headers) => {
    const [to, sent] = use(ref);
    // Each conversation is in an isolate of its own, which knows nothing yet.
    installSimulator();
    const answer = saidBy(await requestEdge(app, 'POST', to, who, sent));
    await app.waitUntilSettled();
    return answer;
  };
  const refused = new RegExp(`^404 not_found_error: The ${kind} x@.* is not the current version`);

  test.each([
    ['the deployment', ['root', 'admin'], ['root', 'admin'], ['bob', 'messages', 'classify', 'prefixes']],
    ['an account', ['bob', 'prefixes'], ['bob', 'messages', 'classify', 'prefixes'], ['bob', 'messages', 'classify']],
  ] as const)(
    'of %s can be used by accounts that may store it, and by others only while it is pinned',
    async (_, owner, storing, plain) => {
      const app = createSimulatedEdge();
      const [owns, stores, asks] = await Promise.all(
        [owner, storing, plain].map(([account, ...scopes]) => authorizationFor(account, ...scopes)),
      );
      if (!owns || !stores || !asks) throw new TypeError();
      const [old, current] = await twoVersions(app, owns);
      expect(await used(app, old, asks)).toMatch(refused);
      expect(saidBy(await requestEdge(app, 'GET', `${path}/${old}`, asks))).toMatch(refused);
      for (const [ref, who] of [
        ['x', asks],
        [current, asks],
        [old, stores],
        ['x', stores],
      ] as const) {
        expect([ref, await used(app, ref, who)]).toEqual([ref, '200']);
      }
      // Its content is the same, so only what is pinned changes; it stays when another version is put.
      expect(
        (await requestEdge(app, 'PUT', `${path}/x`, owns, { ...body(2), pinned: [hashOf(old)] })).body.version,
      ).toBe(current);
      await requestEdge(app, 'PUT', `${path}/x`, owns, body(3));
      expect(await used(app, old, asks)).toBe('200');
      expect(await used(app, current, asks)).toMatch(refused);
      const { data } = (await requestEdge(app, 'GET', `${path}/x/versions`, asks)).body as { data: JsonObject[] };
      expect(data.filter(({ pinned }) => pinned).map(({ version }) => version)).toEqual([old]);
      await requestEdge(app, 'PUT', `${path}/x`, owns, { version: current, pinned: [] });
      expect(await used(app, old, asks)).toMatch(refused);
      expect(await used(app, current, asks)).toBe('200');
      const unknown = await requestEdge(app, 'PUT', `${path}/x`, owns, { ...body(2), pinned: ['0'.repeat(32)] });
      expect(unknown.status).toBe(404);
    },
  );

  test('is not found by any account once it is withdrawn, until the same content is stored again', async () => {
    const app = createSimulatedEdge();
    const [root, bob] = [
      await authorizationFor('root', 'admin'),
      await authorizationFor('bob', 'messages', 'classify', 'prefixes'),
    ];
    const [old, current] = await twoVersions(app, root);
    await requestEdge(app, 'PUT', `${path}/x`, root, { version: current, pinned: [hashOf(old)] });
    expect([await used(app, old, root), await used(app, old, bob)]).toEqual(['200', '200']);
    const at = (version: string) => `${path}/x/versions/${hashOf(version)}`;
    expect(saidBy(await requestEdge(app, 'DELETE', at(old), bob))).toMatch(/^404 /);
    expect(saidBy(await requestEdge(app, 'DELETE', at(current), root))).toMatch(/^400 .* is the current version/);
    const gone = { status: 200, body: { type: `${kind}_version_withdrawn`, version: old } };
    expect(await requestEdge(app, 'DELETE', at(old), root)).toEqual(gone);
    expect(await requestEdge(app, 'DELETE', at(old), root)).toEqual(gone);
    for (const who of [root, bob]) expect(await used(app, old, who)).toMatch(refused);
    expect(saidBy(await requestEdge(app, 'PUT', `${path}/x`, root, { version: old }))).toMatch(/^404 /);
    expect(await used(app, 'x', bob)).toBe('200');
    await requestEdge(app, 'PUT', `${path}/x`, root, body(1));
    expect(await used(app, old, bob)).toBe('200');
  });

  test('is not found once its name is deleted, even right after it was used', async () => {
    const app = createSimulatedEdge();
    const [root, bob] = [
      await authorizationFor('root', 'admin'),
      await authorizationFor('bob', 'messages', 'classify'),
    ];
    const versions = await twoVersions(app, root);
    for (const version of versions) expect(await used(app, version, root)).toBe('200');
    await requestEdge(app, 'DELETE', `${path}/x`, root);
    for (const version of versions)
      for (const who of [root, bob]) expect(await used(app, version, who)).toMatch(/^404 /);
  });

  test('stays usable for a minute in an isolate that knew it as current, and a new version is usable at once', async () => {
    const [app, other] = [createSimulatedEdge(), createSimulatedEdge()];
    const [root, bob] = [
      await authorizationFor('root', 'admin'),
      await authorizationFor('bob', 'messages', 'classify'),
    ];
    installSimulator();
    const old = String((await requestEdge(app, 'PUT', `${path}/x`, root, body(1))).body.version);
    expect(await used(other, old, bob)).toBe('200');
    const current = String((await requestEdge(app, 'PUT', `${path}/x`, root, body(2))).body.version);
    expect(await used(app, old, bob)).toMatch(refused);
    if (kind !== 'agent') expect(await used(other, old, bob)).toBe('200');
    expect(await used(other, current, bob)).toBe('200');
    vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 61_000);
    expect(await used(other, old, bob)).toMatch(refused);
  });
});

/** A conversation that holds version 1 of `x`, and how its next turn ends. */
async function holding(kind: 'agent' | 'prefix', owner: Headers, bob: Headers) {
  const app = createSimulatedEdge();
  installSimulator();
  const { path, body } = KINDS[kind] ?? {};
  const version = String((await requestEdge(app, 'PUT', `${path}/x`, owner, body?.(1))).body.version);
  const next = () => runWholeTurn(app, bob, {});
  expect(saidBy(await runWholeTurn(app, bob, { [kind]: 'x' }))).toBe('200');
  await requestEdge(app, 'PUT', `${path}/x`, owner, body?.(2));
  const withdraw = () => requestEdge(app, 'DELETE', `${path}/x/versions/${hashOf(version)}`, owner);
  return { app, next, version, withdraw, again: () => requestEdge(app, 'PUT', `${path}/x`, owner, body?.(1)) };
}

test.each([
  ['agent', 'root', 'admin'],
  ['agent', 'bob', 'prefixes'],
  ['prefix', 'root', 'admin'],
  ['prefix', 'bob', 'prefixes'],
] as const)(
  'a conversation keeps the %s of %s until the version is withdrawn, then its next turn returns a 409 that names the version',
  async (kind, account, scope) => {
    const bob = await authorizationFor('bob', 'messages');
    const { app, next, version, withdraw, again } = await holding(kind, await authorizationFor(account, scope), bob);
    expect(saidBy(await next())).toBe('200');
    expect(saidBy(await withdraw())).toBe('200');
    // The isolate of the conversation knows of what others share within a minute, and of the account's own at once.
    if (scope === 'admin') vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 61_000);
    const asked = { conversation: 'c1', messages: MESSAGES };
    const answer = await app.post('/v1/messages', asked, bob);
    expect(answer.headers.get('x-should-retry')).toBe('false');
    const { error } = (await answer.json()) as { error: JsonObject };
    expect([answer.status, error.type]).toEqual([409, 'conflict_error']);
    expect(error.message).toContain(`The ${kind} ${version} was withdrawn`);
    if (scope === 'prefixes') vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 91_000);
    expect(saidBy(await requestEdge(app, 'POST', '/count-tokens', bob, asked))).toMatch(/^409 /);
    const history = (await requestEdge(app, 'GET', '/conversations/c1/messages', bob)).body as { data: JsonObject[] };
    expect(history.data).toHaveLength(4);
    await again();
    vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 122_000);
    expect(saidBy(await next())).toBe('200');
  },
);

test('rejects an approval after the run’s agent version is withdrawn, and accepts a denial', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const [root, bob] = [await authorizationFor('root', 'admin'), await authorizationFor('bob', 'messages')];
  const tools = answerTools(() => new Response('sun'));
  answerByScript(({ messages }) =>
    messages.length === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('Sun.'),
  );
  const agent = { ...SKY, tools: [weatherTool({ approval: 'always' })] };
  const old = String((await requestEdge(app, 'PUT', '/agents/sky', root, agent)).body.version);
  await runWholeTurn(app, bob, { agent: 'sky' });
  await requestEdge(app, 'PUT', '/agents/sky', root, { ...agent, system: 'Be brief.' });
  await requestEdge(app, 'DELETE', `/agents/sky/versions/${hashOf(old)}`, root);
  vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 61_000);
  const { data } = (await requestEdge(app, 'GET', '/conversations/c1/approvals', bob)).body as { data: JsonObject[] };
  const decide = (decision: string) =>
    requestEdge(app, 'POST', `/conversations/c1/approvals/${data[0]?.id}`, bob, { decision });
  expect(saidBy(await decide('approve'))).toMatch(/^409 .*was withdrawn/);
  expect(tools).toEqual([]);
  expect(saidBy(await decide('deny'))).toMatch(/^20/);
  const state = async () => (await requestEdge(app, 'GET', '/conversations/c1', bob)).body.state;
  await expect.poll(state).toBe('idle');
  await app.waitUntilSettled();
});

test('a turn with a kept version reads KV at most once a minute, and never for a version of its own account', async () => {
  for (const [account, scope, most] of [
    ['bob', 'prefixes', 0],
    ['root', 'admin', 1],
  ] as const) {
    const bob = await authorizationFor('bob', 'messages');
    const { next } = await holding('agent', await authorizationFor(account, scope), bob);
    const read = vi.spyOn(Object.getPrototypeOf(bindings.STORE) as KVNamespace, 'get');
    await next();
    expect(read).not.toHaveBeenCalled();
    vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 61_000);
    for (const _ of [1, 2, 3]) expect(saidBy(await next())).toBe('200');
    expect({ account, reads: read.mock.calls.length }).toEqual({ account, reads: most });
    vi.restoreAllMocks();
    await resetAll();
  }
});
