import { describe, expect, test } from 'vitest';
import type { TurnRow } from '#edge/conversations/history/storage/rows.ts';
import type { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import { MessageBuilder } from '#edge/conversations/turn/message-builder.ts';
import { measureUnseenTimeAtCrash, restoreCrashedTurn } from '#edge/conversations/turn/restore-turn.ts';
import { stringifyWithRememberedTexts } from '#edge/kit/json/remembered-text.ts';
import { SseEventReader } from '#edge/kit/sse/frames.ts';
import { TEXT_STREAM } from '#test/fixtures/streams.ts';
import { contentBlock, messageStart } from '#test/support/wire.ts';

/** More than a model writes between two rows of a log. */
const SHOWN_AND_LOST = 50_000;

const ROW = { seq: 1, id: 'turn_x', beganAt: 0, sentAt: 500, coversUntil: null, run: null, background: 0, grant: null };

/** A turn that a crash has interrupted when so much of its log was stored. */
const restored = (text: string) => {
  const log = { readLog: () => ({ text, rows: 1 }), findLastRowTime: () => ({ at: 1_000, unseenMs: 0 }) };
  return restoreCrashedTurn({ log } as unknown as Transcript, ROW as TurnRow, 60_000);
};

test('a turn that a crash interrupted continues after all event numbers that may have been shown', () => {
  const stored = TEXT_STREAM.slice(0, TEXT_STREAM.indexOf('event: content_block_stop'));
  const turn = restored(stored);
  const events = stored.split('\n\n').length - 1;
  expect(events).toBeGreaterThan(2);
  expect(turn.log.events - events).toBeGreaterThan(SHOWN_AND_LOST);
  expect(turn.builder.blocks).toHaveLength(1);
  expect(turn.isAcknowledged).toBe(true);
});

test('a complete call is restored with the exact text of its input', () => {
  const [one, two] = ['{"order":2512292042121000001}', '{"order":1.0, "order":2}'];
  const deltas = [one.slice(0, 9), one.slice(9)].map((partial_json) => ({ type: 'input_json_delta', partial_json }));
  const call = (type: string, name: string) => ({ type, id: name, name, input: {} });
  const { blocks } = restored(
    messageStart() +
      contentBlock(call('tool_use', 'a'), deltas) +
      contentBlock(call('server_tool_use', 'b'), [], 1).replace('"input":{}', `"input":${two}`),
  ).builder;
  expect(blocks.map(({ value }) => stringifyWithRememberedTexts(value.input))).toEqual([one, two]);
});

describe('a turn whose object woke a minute after its newest row', () => {
  const use = (name: string) => ({ type: 'server_tool_use', id: 's', name, input: {} });
  const lostOf = (text: string, coversUntil: number | null = null) => {
    const builder = new MessageBuilder();
    for (const { data } of new SseEventReader().readCompletedEvents(new TextEncoder().encode(messageStart() + text)))
      builder.addEventData(JSON.parse(data));
    return measureUnseenTimeAtCrash({ at: 1_000, unseenMs: 0 }, { ...ROW, coversUntil }, builder, 61_000).lostMs;
  };

  test('died at most five seconds after the row if a tool of the API ran, which updates it every four', () => {
    expect(lostOf(contentBlock(use('web_search')))).toBe(5_000);
    expect(lostOf(contentBlock({ type: 'mcp_tool_use', id: 'm', name: 'ask', input: {} }))).toBe(5_000);
  });

  test('died later if its row says that the tool still ran', () => {
    expect(lostOf(contentBlock(use('web_search')), 9_000 + 20_000)).toBe(13_000);
  });

  test('may have run for up to 20 seconds if anything else came last', () => {
    expect(lostOf('')).toBe(20_000);
    expect(lostOf(contentBlock(use('advisor')))).toBe(20_000);
    expect(lostOf(contentBlock({ type: 'tool_use', id: 't', name: 'f', input: {} }))).toBe(20_000);
  });
});
