// @vitest-environment jsdom
import { expect, onTestFinished, test } from 'vitest';
import { agents, refreshAgentList } from '#page/edge/agents.ts';
import { includedPlugins } from '#page/edge/plugins.ts';
import { createErrorResponse, installFakeEdge } from '#test/support/dom.ts';

test('refreshAgentList reads the agents, and sends no request without the agents plugin', async () => {
  const asked = installFakeEdge(() => ({ data: [{ name: 'desk' }] }));
  await refreshAgentList();
  expect(agents.value).toEqual([{ name: 'desk' }]);
  const included = includedPlugins.value;
  onTestFinished(() => {
    includedPlugins.value = included;
  });
  includedPlugins.value = new Set();
  await refreshAgentList();
  expect([agents.value, asked.length]).toEqual([[], 1]);
  includedPlugins.value = included;
  installFakeEdge(() => createErrorResponse(404, 'not_found_error', 'There is nothing here.'));
  await expect(refreshAgentList()).rejects.toThrow('There is nothing here.');
});
