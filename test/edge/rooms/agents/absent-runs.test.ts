/** What agents do on an edge where nothing runs. */
import { expect, test } from 'vitest';
import { approvalsRoom } from '../../../../src/edge/rooms/approvals/room.ts';
import { mcpRoom } from '../../../../src/edge/rooms/mcp/room.ts';
import { runsRoom } from '../../../../src/edge/rooms/runs/room.ts';
import { subagentsRoom } from '../../../../src/edge/rooms/subagents/room.ts';
import { ask, edgeWithSky, turnWith } from '../../../support/agents.ts';
import { withoutRooms } from '../../../support/without-room.ts';

const PLAIN = { model: 'claude-haiku-5-5', max_tokens: 2_048, system: 'Be short.' };

test('an agent answers with and without a conversation, and no limit of runs goes up', async () => {
  withoutRooms(runsRoom, approvalsRoom, subagentsRoom, mcpRoom);
  const { app, bob, bodies } = await edgeWithSky(PLAIN);
  expect((await turnWith(app, bob, { agent: 'sky' })).status).toBe(200);
  const alone = { agent: 'sky', messages: [{ role: 'user', content: 'Hello' }] };
  expect((await ask(app, 'POST', '/v1/messages', bob, alone)).status).toBe(200);
  // The simulator, which answers what has no conversation, refuses members that the API does not know.
  expect(bodies).toHaveLength(1);
  const names = ['cache_control', 'max_tokens', 'messages', 'model', 'stream', 'system'];
  for (const body of bodies) expect(names).toEqual(expect.arrayContaining(Object.keys(body)));
});

test.each([{ max_usd: 0.5 }, { max_seconds: 5 }])(
  'an agent that promises %o is neither stored nor answers: nobody would hold it',
  async (limits) => {
    const { app, root, bob, bodies } = await edgeWithSky({ ...PLAIN, limits });
    withoutRooms(runsRoom, approvalsRoom, subagentsRoom, mcpRoom);
    const message = 'This agent has limits of runs, and this edge has no room "runs". Deploy one that has it.';
    const refused = { status: 409, body: { error: { type: 'conflict_error', message } } };
    expect(await turnWith(app, bob, { agent: 'sky' })).toMatchObject(refused);
    expect(await ask(app, 'PUT', '/agents/sky', root, { ...PLAIN, limits })).toMatchObject(refused);
    expect(bodies).toEqual([]);
  },
);
