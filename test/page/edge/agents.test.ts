// @vitest-environment jsdom
import { expect, test } from 'vitest';
import { agents, hasAgents, refreshAgents } from '../../../src/page/edge/agents.ts';
import { fakeEdge, refusal } from '../../support/dom.ts';

test('an edge without the room of agents has none, and that is no fault', async () => {
  fakeEdge(() => refusal(404, 'not_found_error', 'There is no such route.'));
  await refreshAgents();
  expect([hasAgents.value, agents.value]).toEqual([false, []]);
  fakeEdge(() => ({ data: [{ name: 'desk' }] }));
  await refreshAgents();
  expect([hasAgents.value, agents.value]).toEqual([true, [{ name: 'desk' }]]);
  fakeEdge(() => refusal(500, 'api_error', 'Down.'));
  await expect(refreshAgents()).rejects.toThrow('Down.');
});
