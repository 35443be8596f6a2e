/** What conversations with runs do on an edge without the room of runs. */
import { abortAllDurableObjects, runDurableObjectAlarm } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { accountStub } from '../../../../src/edge/kit/objects/stubs.ts';
import { approvalsRoom } from '../../../../src/edge/rooms/approvals/room.ts';
import { mcpRoom } from '../../../../src/edge/rooms/mcp/room.ts';
import { runsRoom } from '../../../../src/edge/rooms/runs/room.ts';
import { subagentsRoom } from '../../../../src/edge/rooms/subagents/room.ts';
import {
  approvalsOf,
  atRest,
  bindings,
  readOf,
  rowsOf,
  storedLog,
  stubOf,
  turnNow,
} from '../../../support/conversations.ts';
import { eventually } from '../../../support/eventually.ts';
import { answeringBy, call, calls, says, servingTools, weather } from '../../../support/scripted-runs.ts';
import { ask, bodyOf, requestOf, say, textOf, turnOf } from '../../../support/turns.ts';
import { withoutRooms } from '../../../support/without-room.ts';

const withoutRuns = () => withoutRooms(runsRoom, approvalsRoom, subagentsRoom, mcpRoom);
const asked = () => bodyOf('How is the weather?', { tools: [weather()], max_usd: 1 });
const { run: _, ...ownTool } = weather();
const ledger = async () => (await accountStub(bindings, {}, 'alice').requests({ limit: 10 })).data;
const heldNow = async () => (await accountStub(bindings, {}, 'alice').standing()).day.held_usd;

/** Lines of a backup. */
async function backupOf(): Promise<string[]> {
  const kept = await stubOf().backup();
  return kept.ok ? (await new Response(kept.value as ReadableStream).text()).trim().split('\n') : [];
}

test.each([
  ['while a tool is called', 0],
  ['while a step answers', 1],
])(
  'a run that died %s ends as interrupted, is paid and told once, and the conversation goes on',
  async (_, answers) => {
    const hook = 'https://hooks.example.com/turns';
    const bodies = answeringBy(
      (body, number) => {
        if (number === 1) return calls(call('toolu_1', 'Bern'));
        if (JSON.stringify(body.messages).includes('And now?')) return says('It goes on.');
        return { ...says('It is sunny in Bern.'), change: endlessly };
      },
      {
        vars: { TURN_DELIVER_URL: hook, DELIVERY_SIGNING_SECRET: `whsec_${btoa('the secret of the deliveries 123')}` },
      },
    );
    const came = servingTools(({ url }) =>
      url === hook || answers > 0 ? new Response('sun') : new Promise<Response>(() => {}),
    );
    const told = () => came.filter(({ url }) => url === hook);
    const begun = await turnOf({ ...requestOf(asked()), asked: { background: true } });
    const turn = begun.kind === 'whole' ? begun.turn : '';
    await eventually(async () => {
      if (answers > 0) expect(await storedLog()).toContain('sunny');
      else expect(came).toHaveLength(1);
    });
    withoutRuns();
    await abortAllDurableObjects();
    await eventually(async () => {
      await runDurableObjectAlarm(stubOf());
      expect(told()).toHaveLength(1);
    });
    expect(told()[0]?.body).toMatchObject({ type: 'turn.ended', turn: { id: turn, status: 'interrupted' } });
    expect(await turnNow(turn)).toMatchObject({ status: 'interrupted', error: { type: 'api_error' } });
    // A second wake finds nothing that is open.
    await abortAllDurableObjects();
    await runDurableObjectAlarm(stubOf());
    await atRest();
    const booked = await ledger();
    expect(booked.map(({ status }) => status).toSorted()).toEqual(
      answers > 0 ? ['complete', 'interrupted'] : ['complete'],
    );
    expect(await heldNow()).toBe(0);
    const cost = booked.reduce((sum, { cost_usd }) => sum + (cost_usd ?? 0), 0);
    expect(cost).toBeGreaterThan(0);
    const profile = await readOf();
    expect(profile).toMatchObject({ state: 'idle', turns: 1 });
    expect(profile?.cost_usd).toBeCloseTo(cost, 9);
    expect((await turnNow(turn)).cost_usd).toBeCloseTo(cost, 9);
    expect((await backupOf()).at(-1)).toBe('["end",null]');

    // The tools of its first turn are the conversation's: one with other tools is a plain turn, with the result that the edge owes.
    expect(textOf((await say(bodyOf('And now?', { tools: [ownTool] }))).events)).toBe('It goes on.');
    expect(bodies.at(-1)).toMatchObject({ tools: [ownTool] });
    const [, , results] = bodies.at(-1)?.messages ?? [];
    expect(results).toMatchObject({ role: 'user' });
    expect(JSON.stringify(results)).toContain(answers > 0 ? 'sun' : 'unknown whether');
    expect(came.filter(({ url }) => url !== hook)).toHaveLength(1);
    expect(await stubOf().erase()).toBe(true);
    expect(await readOf()).toBeUndefined();
  },
);

/** A stream that says all but its end, and stays open. */
function endlessly(text: string): ReadableStream<Uint8Array> {
  const said = text.slice(0, text.indexOf('event: content_block_stop'));
  return new ReadableStream({
    type: 'bytes',
    start: (controller) => controller.enqueue(new TextEncoder().encode(said)),
  });
}

test('what keeps tools that the edge calls refuses to go on, and goes on where the room is back', async () => {
  const bodies = answeringBy((body) =>
    JSON.stringify(body.messages).includes('tool_result') ? says('Sun.') : calls(call('toolu_1', 'Bern')),
  );
  servingTools(() => new Response('sun'));
  await say(asked());
  const before = [await readOf(), await rowsOf()];
  expect(bodies).toHaveLength(2);
  const again = withoutRuns();
  await abortAllDurableObjects();
  expect([await readOf(), await rowsOf()]).toEqual(before);
  const next = () => ask(bodyOf('And tomorrow?'));
  expect(await next()).toMatchObject({
    kind: 'error',
    error: { status: 409, message: expect.stringContaining('this edge has no room "runs"') },
  });
  // What keeps limits only as a run does is refused as well: it may go up again, or spends a run's share.
  const parent = { conversation: 'c0', toolUseId: 'toolu_1', depth: 2, retentionSeconds: null };
  for (const more of [{ background: true, retry: true }, { parent }])
    expect(await turnOf({ ...requestOf(bodyOf('Hi.'), { id: 'c2' }), ...more })).toMatchObject({
      error: { status: 409 },
    });
  expect([await rowsOf(), await readOf('c2'), bodies.length]).toEqual([before[1], undefined, 2]);
  again();
  await abortAllDurableObjects();
  expect((await next()).kind).toBe('stream');
});

test('a run that waits for an approval is read, backed up and erased, and waits for its room', async () => {
  answeringBy(() => calls(call('toolu_1', 'Bern')));
  const came = servingTools(() => new Response('paid'));
  const { turn } = await say(bodyOf('Pay.', { tools: [weather({ approval: 'always' })] }));
  const waiting = await approvalsOf();
  const before = [await readOf(), await turnNow(turn), await rowsOf()];
  withoutRuns();
  await abortAllDurableObjects();
  await runDurableObjectAlarm(stubOf());
  expect(waiting).toHaveLength(1);
  expect([await readOf(), await turnNow(turn), await rowsOf()]).toEqual(before);
  expect((await backupOf()).at(-1)).toBe('["end",null]');
  expect(await ask(bodyOf('And now?'))).toMatchObject({ kind: 'error', error: { status: 409 } });
  expect(await stubOf().erase()).toBe(true);
  expect([await readOf(), came]).toEqual([undefined, []]);
});
