import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { expect, onTestFinished, test, vi } from 'vitest';
import type { Conversation } from '#edge/conversations/object/conversation.ts';
import type { ConversationHooks, ConversationPlugin } from '#edge/conversations/object/hooks.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { registerPlugins } from '#edge/kit/plugins/plugins.ts';
import { operator } from '#edge/plugins/operator/plugin.ts';
import { backgroundPart } from '#edge/plugins/runs/background/part.ts';
import { runsPart } from '#edge/plugins/runs/part.ts';
import { PLUGINS } from '#edge/plugins.ts';
import {
  bindings,
  installSimulator,
  listMessages,
  readConversation,
  stubOf,
  waitUntilAtRest,
} from '#test/support/conversations.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { buildTurnRequest, createBody, runTurn, sendTurn, sendTurnRequest, textOfDeltas } from '#test/support/turns.ts';

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

const PHASES = ['plan', 'findPrerequisite', 'storeTurnData', 'run'] as const;
const TURNS = PHASES.flatMap((phase) => [
  { phase, what: 'a turn', more: {} },
  // The plugin of runs begins a run, and asks no other.
  ...(phase === 'run' ? [] : [{ phase, what: 'a run', more: { tools: [weatherTool()] } }]),
]);

test.each(TURNS)(
  '$what whose hook throws in `$phase` stores nothing, and releases the lock',
  async ({ phase, more }) => {
    answerTools(() => new Response('sun'));
    const bodies = answerByScript(({ messages }) =>
      more.tools && messages.length === 3 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('So.'),
    );
    await runTurn(createBody('Hello.', more));
    const before = [await readConversation(), await listMessages(), await countsOf()];
    const mend = await throwingIn(phase);
    const asked = { key: 'k1' };
    for (let time = 0; time < 2; time += 1) {
      const answer = await sendTurn(createBody('And now?'), asked);
      expect(answer).toMatchObject({ kind: 'error', error: { status: 500 } });
    }
    expect([await readConversation(), await listMessages(), await countsOf()]).toEqual(before);
    expect(await getAccountStub(bindings, {}, 'alice').listRequests({ limit: 10 })).toMatchObject({ data: [{}] });
    mend();
    expect(textOfDeltas((await runTurn(createBody('And now?'), asked)).events)).toBe('So.');
    expect(await listMessages()).toHaveLength(more.tools ? 6 : 4);
    expect(bodies).toHaveLength(more.tools ? 3 : 2);
  },
);

test.each(TURNS)(
  '$what that begins a conversation stores nothing if a hook throws in `$phase`',
  async ({ phase, more }) => {
    answerByScript(() => textAnswer('So.'));
    const mend = await throwingIn(phase);
    const asked = { key: 'k1' };
    expect(await sendTurn(createBody('Hi.', more), asked)).toMatchObject({ kind: 'error', error: { status: 500 } });
    expect([await readConversation(), await listMessages()]).toEqual([undefined, []]);
    mend();
    expect(textOfDeltas((await runTurn(createBody('Hi.', more), asked)).events)).toBe('So.');
    expect((await listMessages()).map(({ role }) => role)).toEqual(['user', 'assistant']);
  },
);

const LOGGED = [
  'headers',
  'getDimensions',
  'storeEndData',
  'onTurnEnded',
  'settleOpenWork',
  'alarm',
  'getCaller',
  'hasPendingWork',
  'stopWork',
] as const;

/** Follows the log of failures. @returns the hooks that it names */
function hooksInLog(): () => (string | undefined)[] {
  const logging = vi.spyOn(console, 'error').mockImplementation(() => {});
  return () => logging.mock.calls.map(([line]) => (JSON.parse(String(line)) as { hook?: string }).hook);
}

const heldUsd = async () => (await getAccountStub(bindings, {}, 'alice').getQuotaReport()).day.held_usd;

test.each(
  LOGGED.flatMap((phase) =>
    (phase === 'storeEndData' ? [false] : [false, true]).map((isRun) => ({
      phase,
      isRun,
      what: isRun ? 'a run' : 'a turn',
    })),
  ),
)('logs a hook that throws in `$phase`, and still completes $what', async ({ phase, isRun }) => {
  answerTools(() => new Response('sun'));
  answerByScript(({ messages }) =>
    isRun && messages.length === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('So.'),
  );
  const logged = hooksInLog();
  await throwingIn(phase);
  const { events } = await runTurn(createBody('Hello.', isRun ? { tools: [weatherTool()] } : {}));
  expect(textOfDeltas(events)).toContain('So.');
  await stubOf().stopIfCredentialEnded();
  await runDurableObjectAlarm(stubOf());
  await waitUntilAtRest();
  expect(await heldUsd()).toBe(0);
  expect(await stubOf().erase()).toBe(true);
  expect(await readConversation()).toBeUndefined();
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
      conversation.endInterruptedTurns();
    } catch (thrown) {
      expect(String(thrown)).toContain('broken in');
    }
    conversation.endInterruptedTurns();
  });
}

test('ends a turn as interrupted if its hook throws in `beginAgain` after a crash, and settles its hold', async () => {
  installSimulator();
  const request = buildTurnRequest(createBody('Hello', { max_tokens: 2_000 }), { simulate: 'tps=50;flush' });
  await sendTurnRequest({ ...request, edgeOptions: { background: true } });
  await breaking(backgroundPart, 'beginAgain');
  // The crash came before the request was sent.
  await runInDurableObject(stubOf(), (_, { storage }) => void storage.sql.exec('update turns set sent_at = null'));
  await wakeTwice();
  await waitUntilAtRest();
  expect(await heldUsd()).toBe(0);
  expect(await listMessages()).toHaveLength(2);
  answerByScript(() => textAnswer('So.'));
  expect(textOfDeltas((await runTurn(createBody('Go on.'))).events)).toBe('So.');
});

test('ends a run as interrupted if its hook throws in `resume` after a crash, and settles its hold', async () => {
  answerTools(() => new Response('sun'));
  const gate = Promise.withResolvers<void>();
  answerByScript(() => textAnswer('So.'), { after: () => gate.promise });
  onTestFinished(() => gate.resolve());
  const answer = await sendTurnRequest({
    ...buildTurnRequest(createBody('Hi.', { tools: [weatherTool()] })),
    edgeOptions: { background: true },
  });
  expect(answer).not.toMatchObject({ kind: 'error' });
  await breaking(runsPart, 'resume');
  await wakeTwice();
  await expect.poll(heldUsd).toBe(0);
  answerByScript(() => textAnswer('So.'));
  expect(textOfDeltas((await runTurn(createBody('Go on.'))).events)).toBe('So.');
});
