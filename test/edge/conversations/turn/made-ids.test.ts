import { expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { bindings, installSimulator, setConversationUpstream } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { createBody, runTurn, sendTurn } from '#test/support/turns.ts';
import { contentBlock, messageEnd, messageStart, sseResponse } from '#test/support/wire.ts';

const RESULT = {
  type: 'bash_code_execution_tool_result',
  tool_use_id: 'srvtoolu_1',
  content: {
    type: 'bash_code_execution_result',
    stdout: '',
    stderr: '',
    return_code: 0,
    content: [{ type: 'bash_code_execution_output', file_id: 'file_made' }],
  },
};
/** An answer whose tool has made a file, in a container that only the last event names. */
const ANSWER =
  messageStart({ id: 'msg_made', usage: { input_tokens: 10, output_tokens: 1 } }) +
  contentBlock(RESULT) +
  messageEnd(
    { output_tokens: 5 },
    { stop_reason: 'end_turn', container: { id: 'container_made', expires_at: '2026-11-21T00:00:00Z' } },
  );
const CODE = { tools: [{ type: 'code_execution_20250825', name: 'code_execution' }] };
const MADE = ['container_made', 'file_made'];

/** Has the upstream give this answer. @returns the bodies that have gone up */
function answering(): string[] {
  const sent: string[] = [];
  setConversationUpstream(async (_, init) => {
    sent.push(await new Response(init.body ?? '').text());
    return sseResponse(ANSWER);
  });
  return sent;
}

const owned = async (account: string) => await getAccountStub(bindings, {}, account).ownership(MADE);

test('ids created by a turn belong to its account, and another account cannot use them in a turn', async () => {
  installSimulator();
  const sent = answering();
  await runTurn(createBody('Plot it.', CODE));
  await eventually(async () =>
    expect(await owned('alice')).toEqual([
      { id: 'container_made', kind: 'container', upstream: '' },
      { id: 'file_made', kind: 'file', upstream: '' },
    ]),
  );
  expect(await owned('bob')).toEqual([]);
  const content = [{ type: 'document', source: { type: 'file', file_id: 'file_made' } }];
  await runTurn(createBody(content, { container: 'container_made' }), { id: 'c2' });
  expect(sent).toHaveLength(2);
  const refused = await sendTurn(createBody(content), { id: 'c3', account: 'bob' });
  expect(JSON.stringify(refused)).toContain('File not found: file_made');
  expect(sent).toHaveLength(2);
});

test('no ids are recorded for a turn whose tools cannot create files', async () => {
  installSimulator();
  answering();
  await runTurn(createBody('Hi'));
  await runTurn(createBody('Again'));
  expect(await owned('alice')).toEqual([]);
});
