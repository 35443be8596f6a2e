import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatToolResult, splitIntoRunSteps } from '#page/chat/session/steps.ts';

const text = (said: string) => ({ type: 'text', text: said });
const call = (id: string) => ({ type: 'mcp_tool_use', id, name: 'get_weather', input: {}, server_name: 'edge' });
const result = (id: string) => ({ type: 'mcp_tool_result', tool_use_id: id, is_error: false, content: [text('sun')] });

test('a response in which Sluice called no tools has no steps', () => {
  const others = [text('Hello'), { ...call('a'), server_name: 'other' }, result('a')];
  expect(splitIntoRunSteps(others)).toBeUndefined();
});

test('splitIntoRunSteps separates steps by their results, in any order of results and for any prefix of the stream', () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(sizes, fc.boolean(), fc.integer({ min: 0, max: 40 }), (steps, isReversed, cut) => {
      const all = steps.map((count, step) => Array.from({ length: count }, (_, n) => `toolu_${step}_${n}`));
      const said = all.map((ids, step) => [text(`step ${step}`), ...ids.map(call)]);
      const blocks = all.flatMap((ids, step) => [
        ...(said[step] ?? []),
        ...(isReversed ? ids.toReversed() : ids).map(result),
      ]);
      const whole = splitIntoRunSteps([...blocks, text('The end.')]);
      expect(whole?.map(({ parts }) => parts)).toEqual([...said, [text('The end.')]]);
      expect(whole?.map(({ isOver }) => isOver)).toEqual([...said.map(() => true), false]);
      // While it comes, nothing goes to another step later.
      const soFar = splitIntoRunSteps(blocks.slice(0, cut)) ?? [];
      for (const [index, { parts }] of soFar.entries()) expect(parts).toEqual(said[index]?.slice(0, parts.length));
    }),
  );
});

test('formatToolResult returns the text that the model received', () => {
  expect(formatToolResult({ ...result('a'), content: [text('sun'), text('[image/png, 2 kB]')] })).toBe(
    'sun\n[image/png, 2 kB]',
  );
});
