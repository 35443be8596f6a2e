/** Whatever an answer brings, the next plain question in its conversation is accepted. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Json } from '../../../../src/edge/kit/json/object.ts';
import { stubOf } from '../../../support/conversations.ts';
import { runs, tryAsyncCases } from '../../../support/runs.ts';
import { answeringBy, type Scripted, servingTools, weather } from '../../../support/scripted-runs.ts';
import { ask, bodyOf, listen } from '../../../support/turns.ts';

const CODE = { type: 'code_execution_20260120', name: 'code_execution' };
const { run: _, ...own } = weather({}, 'ask_user');
const tools = [CODE, weather(), own];
const name = fc.constantFrom('get_weather', 'ask_user', 'get weather', '', 'n'.repeat(300), 'ü');
const id = fc.constantFrom('toolu_1', 'toolu_2', 'call:1', '', 'x'.repeat(80));
const input = fc.constantFrom<unknown>({}, { city: 'Bern' }, 'Bern', ['Bern'], null, 7);
const caller = fc.constantFrom<Json | undefined>(
  undefined,
  { type: 'direct' },
  {
    type: 'code_execution_20260120',
    tool_id: 'srvtoolu_1',
  },
);
const use = { type: 'server_tool_use', id: 'srvtoolu_1', name: 'code_execution', input: { code: '1' } };
const ran = { type: 'code_execution_tool_result', tool_use_id: 'srvtoolu_1', content: {} };
const blocks: fc.Arbitrary<Json[]> = fc.oneof(
  fc.record({ type: fc.constant('tool_use'), id, name, input, caller }).map((block) => [block]),
  fc.constantFrom<Json[]>(
    [{ type: 'text', text: 'So.' }],
    [{ type: 'text', text: ' ' }],
    [{ type: 'thinking', thinking: 'Hm.', signature: 'sig' }],
    [use],
    [use, ran],
    [{ type: 'redacted_thinking', data: 'x' }],
  ),
);
/** An answer has a server tool's id once. */
const content = fc.array(blocks, { maxLength: 5 }).map((all) => {
  const first = all.findIndex(([block]) => block?.id === use.id);
  return all.filter(([block], at) => block?.id !== use.id || at === first).flat();
});
const answer: fc.Arbitrary<Scripted> = fc
  .record({
    content,
    end: fc.constantFrom('end_turn', 'max_tokens', 'refusal', 'cut'),
    container: fc.constantFrom(undefined, { id: 'container_1' }),
  })
  .map(({ content, end, container }) => {
    const stop_reason = content.some(({ type }) => type === 'tool_use') && end === 'end_turn' ? 'tool_use' : end;
    const cut = (text: string) => text.slice(0, Math.floor(text.length * 0.6));
    return { content, stop_reason, ...(container && { container }), ...(end === 'cut' && { change: cut }) };
  });
const result = fc.constantFrom(
  () => new Response('sun'),
  () => new Response(''),
  () => new Response('broken', { status: 500 }),
  () => Response.json([{ type: 'image' }]),
);

test('the next plain question is accepted, whatever the answers before it were, and in a fork, too', async () => {
  let scenario = 0;
  await tryAsyncCases(runs(80), fc.array(answer, { minLength: 1, maxLength: 4 }), result, async (answers, tool) => {
    scenario += 1;
    const at = `c${scenario}`;
    let left: readonly Scripted[] = answers;
    const bodies = answeringBy(() => {
      const [next, ...others] = left;
      left = others;
      return next ?? { content: [{ type: 'text', text: 'Done.' }] };
    });
    servingTools(tool);
    const say = async (words: string, conversation: string) => {
      const given = await ask(bodyOf(words, { tools, on_pending_tools: 'cancel', max_turns: 2 }), { id: conversation });
      if (given.kind === 'stream') return (await listen(given.body)).text;
      return JSON.stringify(given);
    };
    for (let n = 0; left.length > 0 && n < 5; n += 1) {
      expect(await say('How is the weather?', at)).not.toContain('invalid_request_error');
    }
    const copied = await stubOf(at).fork(`${at}-fork`, undefined);
    expect(await say('And then?', at)).toContain('Done.');
    if (copied.ok) expect(await say('And then?', `${at}-fork`)).toContain('Done.');
    expect(bodies.length).toBeGreaterThan(0);
  });
});
