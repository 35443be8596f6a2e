/** What a turn that was begun in the background does on an edge without that room. */
import { abortAllDurableObjects, runDurableObjectAlarm } from 'cloudflare:test';
import { expect, test, vi } from 'vitest';
import { accountStub } from '../../../../src/edge/kit/objects/stubs.ts';
import { Account } from '../../../../src/edge/money/account/account.ts';
import { backgroundRoom } from '../../../../src/edge/rooms/background/room.ts';
import { bindings, rowsOf, stubOf } from '../../../support/conversations.ts';
import { eventually } from '../../../support/eventually.ts';
import { answeringBy, says, servingTools } from '../../../support/scripted-runs.ts';
import { bodyOf, requestOf, say, textOf, turnOf } from '../../../support/turns.ts';
import { withoutRooms } from '../../../support/without-room.ts';

const HOOK = 'https://hooks.example.com/turns';

test('one that died before it went up ends as interrupted, is told once, and leaves no hold', async () => {
  const bodies = answeringBy(() => says('Done.'), {
    vars: { TURN_DELIVER_URL: HOOK, DELIVERY_SIGNING_SECRET: `whsec_${btoa('the secret of the deliveries 123')}` },
  });
  const came = servingTools(() => new Response());
  let reached = 0;
  const { admitJson } = Account.prototype;
  const spy = vi.spyOn(Account.prototype, 'admitJson').mockImplementation(async function (this: Account, ...one) {
    // The hold is placed, and the object dies before it knows.
    const answer = await admitJson.apply(this, one);
    reached += 1;
    return reached === 1 ? await new Promise<never>(() => {}) : answer;
  });
  turnOf({ ...requestOf(bodyOf('Do it.')), asked: { background: true } }).catch(() => {});
  await eventually(() => expect(reached).toBe(1));
  withoutRooms(backgroundRoom);
  await abortAllDurableObjects();
  await eventually(async () => {
    await runDurableObjectAlarm(stubOf());
    expect(came).toHaveLength(1);
  });
  expect(came[0]?.body).toMatchObject({ type: 'turn.ended', turn: { status: 'interrupted' } });
  expect((await rowsOf()).map(({ role, status }) => [role, status])).toEqual([
    ['user', 'interrupted'],
    ['assistant', 'interrupted'],
  ]);
  expect(bodies).toEqual([]);
  await eventually(async () => {
    const { day, running_requests } = await accountStub(bindings, {}, 'alice').standing();
    expect([day.held_usd, running_requests]).toEqual([0, 0]);
  });
  spy.mockRestore();
  expect(textOf((await say(bodyOf('Again.'))).events)).toBe('Done.');
  await runDurableObjectAlarm(stubOf());
  expect(came).toHaveLength(1);
});
