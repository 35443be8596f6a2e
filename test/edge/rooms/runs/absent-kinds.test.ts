/** What tools of a kind do on an edge without its room. */
import { abortAllDurableObjects } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { parseSettings } from '../../../../src/edge/gate/settings/settings.ts';
import { mcpRoom } from '../../../../src/edge/rooms/mcp/room.ts';
import type { Room } from '../../../../src/edge/rooms/room.ts';
import { runsRoom } from '../../../../src/edge/rooms/runs/room.ts';
import { subagentsRoom } from '../../../../src/edge/rooms/subagents/room.ts';
import { checkTools } from '../../../../src/edge/talk/contracts/check-tools.ts';
import { readOf, stubOf, turnNow } from '../../../support/conversations.ts';
import { eventually } from '../../../support/eventually.ts';
import { answeringBy, calls, says, servingTools, TOOL_VARS, weather } from '../../../support/scripted-runs.ts';
import { agentOf, agentTool, resultsIn, storeAgents, task } from '../../../support/subagents.ts';
import { ask, bodyOf, requestOf, say, textOf } from '../../../support/turns.ts';
import { withoutRooms } from '../../../support/without-room.ts';

const settings = parseSettings({ ...TOOL_VARS }, true);
const identity = { account: 'alice', scopes: ['tools'], token: undefined } as const;
const input_schema = { type: 'object' };
const served = { name: 'served', input_schema, run: { mcp: 'https://tools.example.com/mcp', tool: 't' } };
const server = { name: 'server', run: { mcp: 'https://tools.example.com/mcp' } };

const KINDS: readonly [kind: string, room: Room, tool: object, stored?: object][] = [
  ['an MCP server', mcpRoom, served, server],
  ['a subagent', subagentsRoom, { ...agentTool('helper'), input_schema }],
  ['an address', runsRoom, weather()],
  ['the Worker', runsRoom, { name: 'clock', run: 'worker' }],
];

test.each(KINDS)('a tool of %s is refused where it is asked and where it is stored', (_, room, tool, stored = tool) => {
  const check = (list: object[], isStored: boolean) => checkTools(list, { identity, settings, isStored });
  const lacks = `tools.0.run: this edge has no room "${room.name}"`;
  const again = withoutRooms(room);
  expect(() => check([tool], false)).toThrow(lacks);
  expect(() => check([stored], true)).toThrow(lacks);
  // What the client calls is checked all the same.
  expect(() => check([{ name: 'own' }], true)).toThrow('tools.0.input_schema');
  again();
  expect(() => check([{ ...weather(), run: 5 }], false)).toThrow('tools.0.run: must be "worker"');
});

test.each(KINDS)('a conversation that has a tool of %s goes on only where the room is back', async (_, room, tool) => {
  const bodies = answeringBy(() => says('Hello.'));
  const { turn } = await say(bodyOf('Hi.', { tools: [tool] }));
  const before = [await readOf(), await turnNow(turn)];
  const again = withoutRooms(room);
  await abortAllDurableObjects();
  const refused = { status: 409, message: expect.stringContaining(`this edge has no room "${room.name}"`) };
  expect(await ask(bodyOf('And now?'))).toMatchObject({ kind: 'error', error: refused });
  // What could not be asked is not counted either.
  expect(await stubOf().prompt(requestOf(bodyOf('And now?')))).toMatchObject({ ok: false, error: refused });
  expect([await readOf(), await turnNow(turn)]).toEqual(before);
  expect(bodies).toHaveLength(1);
  again();
  await abortAllDurableObjects();
  expect(textOf((await say(bodyOf('And now?'))).events)).toBe('Hello.');
});

test('a call of a run that has begun is not made', async () => {
  const came = servingTools(() => new Response('sun'));
  const bodies = answeringBy((body) => {
    if (resultsIn(body).size > 0) return says('Nobody can call it.');
    withoutRooms(mcpRoom);
    return calls({ type: 'tool_use', id: 'toolu_1', name: 'served', input: {} });
  });
  expect(textOf((await say(bodyOf('Hi.', { tools: [served] }))).events)).toBe('Nobody can call it.');
  expect(bodies[1] && resultsIn(bodies[1]).get('toolu_1')).toMatchObject({
    is_error: true,
    content: 'This tool was not called: this edge has no room "mcp".',
  });
  expect(came).toEqual([]);
});

test('of a subagent that was begun before a crash all that was set aside for it is counted', async () => {
  await storeAgents({ helper: {} });
  let hasBegun = false;
  answeringBy((body) => {
    if (agentOf(body) === undefined)
      return resultsIn(body).size === 0 ? calls(task('toolu_1', 'helper')) : says('It is not there.');
    hasBegun = true;
    return new Promise(() => {});
  });
  const answer = await ask(bodyOf('Hi.', { tools: [agentTool('helper')], max_usd: 0.1 }));
  // What is kept in an object would wake nobody out here.
  await eventually(() => expect(hasBegun).toBe(true));
  withoutRooms(subagentsRoom);
  await abortAllDurableObjects();
  const { turn } = answer as { turn: string };
  await eventually(async () => expect(await turnNow(turn)).toMatchObject({ status: 'complete' }));
  const { cost_usd, steps } = await turnNow(turn);
  expect(cost_usd).toBeGreaterThan(0.04);
  expect(JSON.stringify(steps)).toContain('"is_error":true');
});
