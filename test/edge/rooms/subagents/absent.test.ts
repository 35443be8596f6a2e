/** What the conversation of a subagent does on an edge without that room. */
import { abortAllDurableObjects } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { subagentsRoom } from '../../../../src/edge/rooms/subagents/room.ts';
import { atRest, readOf, rowsOf, stubOf } from '../../../support/conversations.ts';
import { answeringBy, says } from '../../../support/scripted-runs.ts';
import { bodyOf, requestOf, turnOf } from '../../../support/turns.ts';
import { withoutRooms } from '../../../support/without-room.ts';

test('it is read, told to its run, not begun once it was stopped, and erased', async () => {
  const bodies = answeringBy(() => says('Found.'));
  const parent = { conversation: 'c0', toolUseId: 'toolu_1', depth: 2, retentionSeconds: null };
  const begin = (key: string) => turnOf({ ...requestOf(bodyOf('Find it.'), { key }), parent });
  const begun = await begin('k1');
  if (begun.kind !== 'stream') throw new Error(begun.kind);
  await new Response(begun.body).text();
  await atRest();
  const before = [await readOf(), await rowsOf(), await stubOf().subagentOutcome('k1')];
  expect(before[0]).toMatchObject({ parent: 'c0' });
  expect(before[2]).toMatchObject({ status: 'complete', text: 'Found.', cost: expect.any(Number) });
  withoutRooms(subagentsRoom);
  await abortAllDurableObjects();
  expect([await readOf(), await rowsOf(), await stubOf().subagentOutcome('k1')]).toEqual(before);
  expect(await stubOf().stopSubagent('k1')).toEqual(before[2]);
  expect(await stubOf().stopSubagent('k2')).toBeUndefined();
  expect(await begin('k2')).toMatchObject({ kind: 'error', error: { status: 409 } });
  expect(bodies).toHaveLength(1);
  expect(await stubOf().erase()).toBe(true);
  expect(await readOf()).toBeUndefined();
});
