import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { selectReplayableBlocks } from '#edge/conversations/history/replayable-blocks.ts';
import { MessageBuilder } from '#edge/conversations/turn/message-builder.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { findBrokenRule } from '#test/support/api-rules.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

type Event = JsonObject & { type: string };

/** The events of a message with these blocks, each with its deltas. */
function eventsOf(blocks: readonly { start: JsonObject; deltas: JsonObject[] }[], stopReason = 'end_turn'): Event[] {
  return [
    { type: 'message_start', message: { id: 'msg_1', role: 'assistant', content: [], usage: { input_tokens: 3 } } },
    ...blocks.flatMap(({ start, deltas }, index) => [
      { type: 'content_block_start', index, content_block: start },
      ...deltas.map((delta) => ({ type: 'content_block_delta', index, delta })),
      { type: 'content_block_stop', index },
    ]),
    { type: 'message_delta', delta: { stop_reason: stopReason }, usage: { output_tokens: 5, input_tokens: null } },
    { type: 'message_stop' },
  ];
}

function builderOf(events: readonly Event[]): MessageBuilder {
  const builder = new MessageBuilder();
  for (const event of events) builder.addEventData(event);
  return builder;
}

const text = (...pieces: string[]) => ({
  start: { type: 'text', text: '' },
  deltas: pieces.map((piece) => ({ type: 'text_delta', text: piece })),
});
const thinking = (signature: string) => ({
  start: { type: 'thinking', thinking: '', signature: '' },
  deltas: [
    { type: 'thinking_delta', thinking: 'Hm, ' },
    { type: 'thinking_delta', thinking: 'well' },
    ...(signature === '' ? [] : [{ type: 'signature_delta', signature }]),
  ],
});
const call = (type: string, id: string, ...json: string[]) => ({
  start: { type, id, name: 'a_tool', input: {} },
  deltas: json.map((partial_json) => ({ type: 'input_json_delta', partial_json })),
});
const result = (id: string) => ({
  start: { type: 'web_search_tool_result', tool_use_id: id, content: [] },
  deltas: [],
});

describe('MessageBuilder', () => {
  test('applies deltas to their blocks, also to blocks of an unknown type', () => {
    const builder = builderOf(
      eventsOf([
        thinking('sig'),
        text('Hel', 'lo'),
        call('tool_use', 'toolu_1', '{"ci', 'ty":"Bern"}'),
        {
          start: { type: 'from_the_future', note: 'a', level: 1 },
          deltas: [
            { type: 'future_delta', note: 'b', level: 2, more: { x: 1 } },
            { type: 'future_delta', note: 'c' },
          ],
        },
        {
          start: { type: 'text', text: '', citations: [] },
          deltas: [
            { type: 'citations_delta', citation: { cited_text: 'q' } },
            { type: 'text_delta', text: 'cited' },
          ],
        },
      ]),
    );
    expect(builder.blocks.map(({ value }) => value)).toEqual([
      { type: 'thinking', thinking: 'Hm, well', signature: 'sig' },
      { type: 'text', text: 'Hello' },
      { type: 'tool_use', id: 'toolu_1', name: 'a_tool', input: { city: 'Bern' } },
      { type: 'from_the_future', note: 'abc', level: 2, more: { x: 1 } },
      { type: 'text', text: 'cited', citations: [{ cited_text: 'q' }] },
    ]);
    expect(builder).toMatchObject({
      stopReason: 'end_turn',
      hasStopped: true,
      reportedUsage: { input_tokens: 3, output_tokens: 5 },
    });
  });

  test('accepts any JSON in any order without throwing', () => {
    const event = fc.record(
      {
        type: fc.constantFrom(
          'message_start',
          'content_block_start',
          'content_block_delta',
          'content_block_stop',
          'message_delta',
          'x',
        ),
        index: fc.oneof(fc.nat(2), fc.jsonValue()),
        delta: fc.oneof(
          fc.jsonValue(),
          fc.record({
            type: fc.constantFrom('text_delta', 'input_json_delta', 'citations_delta'),
            text: fc.jsonValue(),
            partial_json: fc.jsonValue(),
            citation: fc.jsonValue(),
          }),
        ),
        content_block: fc.oneof(
          fc.jsonValue(),
          fc.record({
            type: fc.constantFrom('text', 'thinking', 'tool_use'),
            text: fc.jsonValue(),
            citations: fc.jsonValue(),
            tool_use_id: fc.constantFrom('t', { toString: 7 }),
          }),
        ),
        message: fc.jsonValue(),
        usage: fc.jsonValue(),
      },
      { requiredKeys: ['type'] },
    );
    tryCases(100, fc.array(event), fc.boolean(), (events, complete) => {
      const builder = builderOf(events as Event[]);
      selectReplayableBlocks(builder.blocks, complete ? { complete, stopReason: builder.stopReason } : { complete });
    });
  });
});

describe('selectReplayableBlocks', () => {
  const whole = (blocks: Parameters<typeof eventsOf>[0], stopReason = 'end_turn') =>
    selectReplayableBlocks(builderOf(eventsOf(blocks, stopReason)).blocks, { complete: true, stopReason });
  const cut = (blocks: Parameters<typeof eventsOf>[0], events: number) =>
    selectReplayableBlocks(builderOf(eventsOf(blocks).slice(0, events)).blocks, { complete: false });

  test('returns all blocks of a complete response except those that the API would reject', () => {
    expect(
      whole([thinking('s'), text('\n\n'), call('tool_use', 'a', '{}')], 'tool_use').map(({ type }) => type),
    ).toEqual(['thinking', 'tool_use']);
    expect(whole([text('Hi'), thinking('s')], 'max_tokens').map(({ type }) => type)).toEqual(['text']);
    expect(whole([text('Hi'), call('tool_use', 'a', '{"x":')], 'max_tokens').map(({ type }) => type)).toEqual(['text']);
    expect(whole([text('Hi'), call('server_tool_use', 's', '{}')], 'pause_turn')).toHaveLength(2);
    expect(whole([text('Hi'), call('server_tool_use', 's', '{}')], 'max_tokens')).toHaveLength(1);
    expect(whole([call('server_tool_use', 's', '{}'), result('s'), text('Hi')])).toHaveLength(3);
  });

  test('omits calls, unsigned thinking and half characters of a cut response', () => {
    expect(cut([thinking('s'), text('Hel', 'lo')], 8)).toMatchObject([{ type: 'thinking' }, { text: 'Hel' }]);
    expect(cut([thinking(''), text('Hel')], 8)).toMatchObject([{ text: 'Hel' }]);
    expect(cut([text('Hi'), call('tool_use', 'a', '{}')], 7)).toMatchObject([{ text: 'Hi' }]);
    expect(cut([text('Hi'), call('server_tool_use', 's', '{}')], 7)).toMatchObject([{ text: 'Hi' }]);
    expect(cut([thinking('s')], 6)).toEqual([]);
    expect(cut([text('ab\ud83c')], 3)).toEqual([{ type: 'text', text: 'ab' }]);
  });

  test('returns blocks that the API accepts wherever a response is cut', () => {
    const blocks = fc.array(
      fc.oneof(
        fc.array(fc.string({ unit: 'binary' }), { maxLength: 4 }).map((pieces) => text(...pieces)),
        fc.constantFrom('', 'c2ln').map(thinking),
        fc.nat().map((id) => call('tool_use', `toolu_${id}`, '{"a"', ':1}')),
        fc.nat(3).map((id) => call('server_tool_use', `srv_${id}`, '{}')),
        fc.nat(3).map((id) => result(`srv_${id}`)),
      ),
      { maxLength: 6 },
    );
    tryCases(caseCount(500), blocks, fc.nat(40), (said, at) => {
      // A server's result comes behind its own use, once.
      const uses = new Set<unknown>();
      const sane = said.filter(({ start }: { start: JsonObject }) => {
        if (start.type === 'server_tool_use') return !uses.has(start.id) && uses.add(start.id);
        return start.type !== 'web_search_tool_result' || uses.delete(start.tool_use_id);
      });
      const kept = cut(sane, at);
      if (kept.length === 0) return;
      const messages = [
        { role: 'user', content: 'Hi' },
        { role: 'assistant', content: kept },
        { role: 'user', content: 'And?' },
      ];
      expect(findBrokenRule(messages as never)).toBeUndefined();
    });
  });
});
