import { expect, test } from 'vitest';
import { authorizationFor, createSimulatedEdge } from '#test/support/prefixes.ts';
import { TOOL_VARS, weatherTool } from '#test/support/scripted-runs.ts';

test('responses about a conversation contain neither a tool’s address nor its headers', async () => {
  const edge = createSimulatedEdge(TOOL_VARS);
  const owner = await authorizationFor('alice', 'messages', 'tools');
  const reader = await authorizationFor('alice', 'messages');
  const tool = weatherTool({ headers: { authorization: 'Bearer s3cret' } });
  const created = await edge.post('/conversations', { id: 'c1', tools: [tool] }, owner);
  const forked = await edge.post('/conversations/c1/fork', { id: 'c2' }, reader);
  expect([created.status, forked.status]).toEqual([201, 201]);
  const paths = ['c1', 'c2', 'c1/export', 'c1/export?view=shown'];
  const read = paths.map((path) => edge.fetch(`/conversations/${path}`, { headers: reader }));
  const stopped = edge.post('/conversations/c1/stop', {}, reader);
  for (const answer of [created, forked, ...(await Promise.all([...read, stopped]))]) {
    const text = await answer.text();
    expect(text).toContain('"tools":[{"name":"get_weather"');
    expect(text).not.toMatch(/s3cret|tools\.example\.com/);
  }
});
