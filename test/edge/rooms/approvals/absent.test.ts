/** What a conversation that waits for approval does on an edge without the room of approvals. */
import { abortAllDurableObjects, runDurableObjectAlarm } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { parseSettings } from '../../../../src/edge/gate/settings/settings.ts';
import { createRequestId } from '../../../../src/edge/kit/http/headers/request-id.ts';
import type { Json } from '../../../../src/edge/kit/json/object.ts';
import { approvalsRoom } from '../../../../src/edge/rooms/approvals/room.ts';
import { checkRun } from '../../../../src/edge/talk/contracts/check-tools.ts';
import { approvalsOf, passingTime, readOf, rowsOf, stubOf, turnNow } from '../../../support/conversations.ts';
import { eventually } from '../../../support/eventually.ts';
import { answeringBy, calls, says, servingTools, weather } from '../../../support/scripted-runs.ts';
import { ask, bodyOf, say, textOf } from '../../../support/turns.ts';
import { withoutRooms } from '../../../support/without-room.ts';

const payment = calls({ type: 'tool_use', id: 'toolu_1', name: 'pay', input: { city: 'Bern' } });
const tools = [weather({ approval: 'always' }, 'pay')];
const asked = () => bodyOf('Pay the bill.', { tools });
const LACKS = /waits for an approval, and this edge has no room "approvals"/;

test('it wakes, is read, told and backed up with what waits, goes on only where the room is back, and is erased', async () => {
  answeringBy((body) => (JSON.stringify(body.messages).includes('tool_result') ? says('It is paid.') : payment));
  const came = servingTools(() => new Response('paid'));
  const pass = passingTime();
  const { turn } = await say(asked());
  const [waiting] = await approvalsOf();
  const { id } = waiting as { id: string };
  const before = [await readOf(), await turnNow(turn), await rowsOf()];
  const again = withoutRooms(approvalsRoom);
  await abortAllDurableObjects();
  // It is kept for as long as with the room.
  expect(await stubOf().patch({ retention_seconds: 60 })).toMatchObject({ ok: true });
  pass(10 * 60_000);
  await runDurableObjectAlarm(stubOf());
  expect(before[0]).toMatchObject({ paused: 'approval', state: 'idle' });
  expect([{ ...(await readOf()), updated_at: null }, await turnNow(turn), await rowsOf()]).toEqual([
    { ...before[0], retention_seconds: 60, updated_at: null },
    ...before.slice(1),
  ]);
  const kept = await stubOf().backup();
  const lines = kept.ok ? (await new Response(kept.value as ReadableStream).text()).trim().split('\n') : [];
  expect(lines.filter((line) => line.startsWith('["call",'))).toEqual([expect.stringContaining('waited for approval')]);
  expect(lines.at(-1)).toBe('["end",null]');

  const refused = { status: 409, message: expect.stringMatching(LACKS), headers: { 'x-should-retry': 'false' } };
  expect(await ask(bodyOf('And now?'))).toMatchObject({ kind: 'error', error: refused });
  const decision = { id, decision: 'approve', isAdmin: true, requestId: createRequestId() } as const;
  const lacks = { status: 409, message: expect.stringContaining('no room "approvals"') };
  expect(await stubOf().decide(decision)).toMatchObject({ ok: false, error: lacks });
  expect(await stubOf().approvals()).toMatchObject({ ok: false, error: lacks });
  expect(came).toEqual([]);

  again();
  expect((await approvalsOf()).map((one) => one.id)).toEqual([id]);
  expect(await stubOf().part('approvals', 'list')).toEqual(await stubOf().approvals());
  expect(await stubOf().part('approvals', 'erase')).toMatchObject({ ok: false, error: { status: 409 } });
  const decided = await stubOf().decide(decision);
  const next = decided.ok ? (JSON.parse(decided.value.body) as Json).id : undefined;
  await eventually(async () => expect(await turnNow(next)).toMatchObject({ status: 'complete', continues: turn }));
  expect(came).toHaveLength(1);

  await say(asked(), { id: 'c2' });
  withoutRooms(approvalsRoom);
  expect(await stubOf('c2').erase()).toBe(true);
  expect(await readOf('c2')).toBeUndefined();
  await say(bodyOf('Hello.'), { id: 'c2' });
  expect(await readOf('c2')).toMatchObject({ turns: 1, paused: null });
});

test('a tool whose calls would wait is refused, and one that is there already is not called', async () => {
  const bodies = answeringBy((body) =>
    JSON.stringify(body.messages).includes('tool_result') ? says('Nobody can approve.') : payment,
  );
  const came = servingTools(() => new Response('paid'));
  withoutRooms(approvalsRoom);
  const isRefused = () =>
    checkRun({ tools }, { account: 'alice', scopes: ['tools'], token: undefined }, parseSettings({}, true));
  expect(isRefused).toThrow('tools.0.run.approval: its calls wait, and this edge has no room "approvals".');
  expect(textOf((await say(asked())).events)).toBe('Nobody can approve.');
  expect(came).toEqual([]);
  expect(bodies[1]?.messages.at(-1)?.content).toMatchObject([
    { is_error: true, content: expect.stringContaining('this edge has no room "approvals"') },
  ]);
});
