import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { expect, onTestFinished, test } from 'vitest';
import { shareRooms } from '../../../../src/edge/kit/rooms/rooms.ts';
import { accountStub } from '../../../../src/edge/objects/stubs.ts';
import { operatorRoom } from '../../../../src/edge/rooms/operator/room.ts';
import { ROOMS } from '../../../../src/edge/rooms.ts';
import type { ConversationPart, OpenPart } from '../../../../src/edge/talk/object/parts.ts';
import { bindings, readOf, rowsOf, stubOf } from '../../../support/conversations.ts';
import { answeringBy, call, calls, says, servingTools, weather } from '../../../support/scripted-runs.ts';
import { ask, bodyOf, say, textOf } from '../../../support/turns.ts';

type Phase = 'plan' | 'before' | 'begin' | 'run' | 'about';

/** Has the last room in conversations throw in a phase of a turn. @returns what mends it */
async function throwingIn(phase: Phase): Promise<() => void> {
  let isBroken = true;
  const fail = () => {
    if (isBroken) throw new Error(`broken in ${phase}`);
  };
  const open = (): OpenPart => ({
    [phase]: () => {
      fail();
      return phase === 'about' ? {} : undefined;
    },
  });
  const plugs: { conversation: ConversationPart[] } = { conversation: [{ open }] };
  Object.assign(operatorRoom, plugs);
  shareRooms([...ROOMS]);
  onTestFinished(() => {
    Reflect.deleteProperty(operatorRoom, 'conversation');
    shareRooms([...ROOMS]);
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

const PHASES = ['plan', 'before', 'begin', 'run', 'about'] as const;
const TURNS = PHASES.flatMap((phase) => [
  { phase, what: 'a turn', more: {} },
  // The room of runs begins a run, and asks no other.
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
