import { expect, test } from 'vitest';
import { writeJson } from '../../../../src/edge/kit/json/kept-text.ts';
import type { TurnRow } from '../../../../src/edge/talk/storage/rows.ts';
import type { Transcript } from '../../../../src/edge/talk/storage/transcript.ts';
import { restoreCrashed } from '../../../../src/edge/talk/turn/restore-turn.ts';
import { TEXT_STREAM } from '../../../fixtures/streams.ts';
import { block, start } from '../../../support/wire.ts';

/** More than a model writes between two rows of a log. */
const SHOWN_AND_LOST = 50_000;

const ROW = { seq: 1, id: 'turn_x', beganAt: 0, sentAt: 500, coversUntil: null, run: null, background: 0, grant: null };

/** A turn that a crash has interrupted when so much of its log was stored. */
const restored = (text: string) => {
  const log = { of: () => ({ text, rows: 1 }), last: () => ({ at: 1_000, unseenMs: 0 }) };
  return restoreCrashed({ log } as unknown as Transcript, ROW as TurnRow, 60_000);
};

test('a turn that a crash has interrupted goes on behind all numbers that may have been shown', () => {
  const stored = TEXT_STREAM.slice(0, TEXT_STREAM.indexOf('event: content_block_stop'));
  const turn = restored(stored);
  const events = stored.split('\n\n').length - 1;
  expect(events).toBeGreaterThan(2);
  expect(turn.log.events - events).toBeGreaterThan(SHOWN_AND_LOST);
  expect(turn.builder.blocks).toHaveLength(1);
  expect(turn.isAcknowledged).toBe(true);
});

test('a call that had come whole is restored with its input as it was written', () => {
  const [one, two] = ['{"order":2512292042121000001}', '{"order":1.0, "order":2}'];
  const deltas = [one.slice(0, 9), one.slice(9)].map((partial_json) => ({ type: 'input_json_delta', partial_json }));
  const call = (type: string, name: string) => ({ type, id: name, name, input: {} });
  const { blocks } = restored(
    start() +
      block(call('tool_use', 'a'), deltas) +
      block(call('server_tool_use', 'b'), [], 1).replace('"input":{}', `"input":${two}`),
  ).builder;
  expect(blocks.map(({ value }) => writeJson(value.input))).toEqual([one, two]);
});
