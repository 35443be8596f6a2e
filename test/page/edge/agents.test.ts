// @vitest-environment jsdom
import { expect, onTestFinished, test } from 'vitest';
import { agents, refreshAgents } from '#page/edge/agents.ts';
import { plugins } from '#page/edge/plugins.ts';
import { fakeEdge, refusal } from '#test/support/dom.ts';

test('reads the list of agents, and asks for none where the edge does not include the plugin', async () => {
  const asked = fakeEdge(() => ({ data: [{ name: 'desk' }] }));
  await refreshAgents();
  expect(agents.value).toEqual([{ name: 'desk' }]);
  const included = plugins.value;
  onTestFinished(() => {
    plugins.value = included;
  });
  plugins.value = new Set();
  await refreshAgents();
  expect([agents.value, asked.length]).toEqual([[], 1]);
  plugins.value = included;
  fakeEdge(() => refusal(404, 'not_found_error', 'There is nothing here.'));
  await expect(refreshAgents()).rejects.toThrow('There is nothing here.');
});
