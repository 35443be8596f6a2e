// @vitest-environment jsdom
import '#test/support/without-layout.ts';
import { h } from 'preact';
import { expect, test } from 'vitest';
import { EdgeToolCall } from '#page/chat/message/edge-call.tsx';
import { Session } from '#page/chat/session/session.ts';
import { installFakeEdge, renderForTest } from '#test/support/dom.ts';

test('a call shows its input with every digit of a large number after the run report is loaded', async () => {
  const input = '{"order":2512292042121000001}';
  const part = { type: 'mcp_tool_use', id: 'toolu_1', name: 'pay', input: JSON.parse(input) };
  const asked = installFakeEdge(
    () => new Response(`{"id":"t 1","steps":[{"calls":[{"id":"toolu_1","input":${input}}]}]}`),
  );
  const session = new Session('c/1', () => Promise.resolve());
  await session.readRunReport('t 1');
  expect(asked.map(({ path }) => path)).toEqual(['/conversations/c%2F1/turns/t%201']);
  const report = session.runReports.value.get('t 1')?.steps[0]?.calls[0];
  const root = renderForTest(
    h(EdgeToolCall, { conversation: 'c/1', part, result: undefined, report, isLive: false, isWaiting: true }),
  );
  expect(root.querySelector('pre')?.textContent).toBe('{\n  "order": 2512292042121000001\n}');
});
