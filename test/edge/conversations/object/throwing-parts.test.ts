import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { expect, onTestFinished, test, vi } from 'vitest';
import type { Conversation } from '#edge/conversations/object/conversation.ts';
import type { ConversationHooks, ConversationPlugin } from '#edge/conversations/object/hooks.ts';
import { accountStub } from '#edge/durable/stubs.ts';
import { registerPlugins } from '#edge/kit/plugins/plugins.ts';
import { operator } from '#edge/plugins/operator/plugin.ts';
import { backgroundPart } from '#edge/plugins/runs/background/part.ts';
import { runsPart } from '#edge/plugins/runs/part.ts';
import { PLUGINS } from '#edge/plugins.ts';
import { atRest, bindings, readOf, rowsOf, simulate, stubOf } from '#test/support/conversations.ts';
import { answeringBy, call, calls, says, servingTools, weather } from '#test/support/scripted-runs.ts';
import { ask, bodyOf, requestOf, say, textOf, turnOf } from '#test/support/turns.ts';

type Phase = keyof ConversationHooks;

/** Has the last plugin in conversations throw in a phase of a turn. @returns what mends it */
async function throwingIn(phase: Phase): Promise<() => void> {
  let isBroken = true;
  const fail = () => {
    if (isBroken) throw new Error(`broken in ${phase}`);
  };
  const open = (): ConversationHooks => ({
    [phase]: fail,
  });
  const plugs: { conversation: ConversationPlugin[] } = { conversation: [{ createHooks: open }] };
  Object.assign(operator, plugs);
  registerPlugins([...PLUGINS]);
  onTestFinished(() => {
    Reflect.deleteProperty(operator, 'conversation');
    registerPlugins([...PLUGINS]);
  });
  await abortAllDurableObjects();
  return () => {
    isBroken = false;
  };
}

const countsOf = async () =>
  await runInDurableObject(stubOf(), (_, { storage: { sql } }) =>
    // Runs have no tables yet where none has begun.
    sql
      .exec<{ name: string }>("select name from sqlite_master where name in ('turns', 'messages', 'calls', 'pieces')")
      .toArray()
      .map(({ name }) => sql.exec(`select * from ${name}`).toArray().length)
      .filter((count) => count > 0),
  );

const PHASES = ['plan', 'before', 'begin', 'run'] as const;
const TURNS = PHASES.flatMap((phase) => [
  { phase, what: 'a turn', more: {} },
  // The plugin of runs begins a run, and asks no other.
  ...(phase === 'run' ? [] : [{ phase, what: 'a run', more: { tools: [weather()] } }]),
]);

test.each(TURNS)(
  '$what whose part throws in `$phase` stores nothing, and leaves the lock free',
  async ({ phase, more }) => {
    servingTools(() => new Response('sun'));
    const bodies = answeringBy(({ messages }) =>
      more.tools && messages.length === 3 ? calls(call('toolu_1', 'Bern')) : says('So.'),
    );
    await say(bodyOf('Hello.', more));
    const before = [await readOf(), await rowsOf(), await countsOf()];
    const mend = await throwingIn(phase);
    const asked = { key: 'k1' };
    for (let time = 0; time < 2; time += 1) {
      const answer = await ask(bodyOf('And now?'), asked);
      expect(answer).toMatchObject({ kind: 'error', error: { status: 500 } });
    }
    expect([await readOf(), await rowsOf(), await countsOf()]).toEqual(before);
    expect(await accountStub(bindings, {}, 'alice').requests({ limit: 10 })).toMatchObject({ data: [{}] });
    mend();
    expect(textOf((await say(bodyOf('And now?'), asked)).events)).toBe('So.');
    expect(await rowsOf()).toHaveLength(more.tools ? 6 : 4);
    expect(bodies).toHaveLength(more.tools ? 3 : 2);
  },
);

test.each(TURNS)('$what that is the first of its conversation, too ($phase)', async ({ phase, more }) => {
  answeringBy(() => says('So.'));
  const mend = await throwingIn(phase);
  const asked = { key: 'k1' };
  expect(await ask(bodyOf('Hi.', more), asked)).toMatchObject({ kind: 'error', error: { status: 500 } });
  expect([await readOf(), await rowsOf()]).toEqual([undefined, []]);
  mend();
  expect(textOf((await say(bodyOf('Hi.', more), asked)).events)).toBe('So.');
  expect((await rowsOf()).map(({ role }) => role)).toEqual(['user', 'assistant']);
});

const LOGGED = ['headers', 'about', 'tell', 'ended', 'settle', 'alarm', 'by', 'isOpen', 'stop'] as const;

/** Follows the log of failures. @returns the hooks that it names */
function hooksInLog(): () => (string | undefined)[] {
  const logging = vi.spyOn(console, 'error').mockImplementation(() => {});
  return () => logging.mock.calls.map(([line]) => (JSON.parse(String(line)) as { hook?: string }).hook);
}

const heldUsd = async () => (await accountStub(bindings, {}, 'alice').quota()).day.held_usd;

test.each(
  LOGGED.flatMap((phase) =>
    (phase === 'tell' ? [false] : [false, true]).map((isRun) => ({ phase, isRun, what: isRun ? 'a run' : 'a turn' })),
  ),
)('logs what a part throws in `$phase`, and ends $what', async ({ phase, isRun }) => {
  servingTools(() => new Response('sun'));
  answeringBy(({ messages }) => (isRun && messages.length === 1 ? calls(call('toolu_1', 'Bern')) : says('So.')));
  const logged = hooksInLog();
  await throwingIn(phase);
  const { events } = await say(bodyOf('Hello.', isRun ? { tools: [weather()] } : {}));
  expect(textOf(events)).toContain('So.');
  await stubOf().checkCredential();
  await runDurableObjectAlarm(stubOf());
  await atRest();
  expect(await heldUsd()).toBe(0);
  expect(await stubOf().erase()).toBe(true);
  expect(await readOf()).toBeUndefined();
  expect(logged()).toContain(phase);
});

/** Has a part of the edge throw in a phase, from the next wake on. */
async function breaking(part: ConversationPlugin, phase: Phase): Promise<void> {
  const { createHooks } = part;
  const fail = () => {
    throw new Error(`broken in ${phase}`);
  };
  vi.spyOn(part, 'createHooks').mockImplementation((conversation) => ({
    ...createHooks?.(conversation),
    [phase]: fail,
  }));
  await abortAllDurableObjects();
}

/** Wakes the object of a conversation. The first wake may throw what a plugin throws. */
async function wakeTwice(): Promise<void> {
  await runInDurableObject(stubOf(), (conversation: Conversation) => {
    try {
      conversation.wake();
    } catch (thrown) {
      expect(String(thrown)).toContain('broken in');
    }
    conversation.wake();
  });
}

test('ends a turn as interrupted whose part throws in `beginAgain` after a crash, and settles its hold', async () => {
  simulate();
  const request = requestOf(bodyOf('Hello', { max_tokens: 2_000 }), { simulate: 'tps=50;flush' });
  await turnOf({ ...request, asked: { background: true } });
  await breaking(backgroundPart, 'beginAgain');
  // The crash came before the request was sent.
  await runInDurableObject(stubOf(), (_, { storage }) => void storage.sql.exec('update turns set sent_at = null'));
  await wakeTwice();
  await atRest();
  expect(await heldUsd()).toBe(0);
  expect(await rowsOf()).toHaveLength(2);
  answeringBy(() => says('So.'));
  expect(textOf((await say(bodyOf('Go on.'))).events)).toBe('So.');
});

test('ends a run as interrupted whose own part throws in `resume` after a crash, and settles its hold', async () => {
  servingTools(() => new Response('sun'));
  const gate = Promise.withResolvers<void>();
  answeringBy(() => says('So.'), { after: () => gate.promise });
  onTestFinished(() => gate.resolve());
  const answer = await turnOf({ ...requestOf(bodyOf('Hi.', { tools: [weather()] })), asked: { background: true } });
  expect(answer).not.toMatchObject({ kind: 'error' });
  await breaking(runsPart, 'resume');
  await wakeTwice();
  await expect.poll(heldUsd).toBe(0);
  answeringBy(() => says('So.'));
  expect(textOf((await say(bodyOf('Go on.'))).events)).toBe('So.');
});
