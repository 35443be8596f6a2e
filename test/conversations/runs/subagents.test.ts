import { afterEach, describe, expect, test } from 'vitest';
import { bodyOf, readOf, resetAll, rowsOf, say, textOf } from '../../support/conversations.ts';
import { answeringBy, calls, says } from '../../support/scripted-runs.ts';
import { agentOf, agentTool, resultsIn, storeAgents, task } from '../../support/subagents.ts';
import { subagentId } from '../../../src/conversations/runs/subagent-result.ts';
import { settleEdges } from '../../support/prefixes.ts';

afterEach(async () => {
  await settleEdges();
  await resetAll();
});

const asked = (more: object = {}) => bodyOf('Find out.', { tools: [agentTool('researcher')], ...more });
const idOf = (turn: string, tool_use_id: string, conversation = 'c1') =>
  subagentId({ conversation, turn, tool_use_id, name: '', input: {}, account: 'alice' });

describe('a subagent', () => {
  test('does its task in a conversation of its own, and its last text is the result', async () => {
    const bodies = answeringBy((body) => {
      if (agentOf(body) === 'researcher') return says('The answer is 42.');
      return resultsIn(body).size === 0 ? calls(task('toolu_1', 'researcher', 'What is it?')) : says('It is 42.');
    });
    await storeAgents({ researcher: {} });
    const { events, turn, text } = await say(asked());
    expect(textOf(events)).toBe('It is 42.');
    expect(resultsIn(bodies[2] as never).get('toolu_1')).toMatchObject({ content: 'The answer is 42.' });
    const id = await idOf(turn, 'toolu_1');
    expect(await readOf(id)).toMatchObject({ state: 'idle', turns: 1, parent: 'c1', tool_use_id: 'toolu_1' });
    expect((await rowsOf(id)).map(({ content }) => content)).toEqual(['What is it?', [{ type: 'text', text: 'The answer is 42.' }]]);
  });
});
