import { expect, test } from 'vitest';
import type { TurnRow } from '../../../src/conversations/storage/rows.ts';
import type { Transcript } from '../../../src/conversations/storage/transcript.ts';
import { restoreCrashed } from '../../../src/conversations/turn/restore-turn.ts';
import { TEXT_STREAM } from '../../fixtures/streams.ts';

/** More than a model writes between two rows of a log. */
const SHOWN_AND_LOST = 50_000;

test('a turn that a crash has interrupted goes on behind all numbers that may have been shown', () => {
  const stored = TEXT_STREAM.slice(0, TEXT_STREAM.indexOf('event: content_block_stop'));
  const log = { of: () => ({ text: stored, rows: 1 }), last: () => ({ at: 1_000, unseenMs: 0 }) };
  const row = {
    seq: 1,
    id: 'turn_x',
    beganAt: 0,
    sentAt: 500,
    coversUntil: null,
    run: null,
    background: 0,
    grant: null,
  };
  const turn = restoreCrashed({ log } as unknown as Transcript, row as TurnRow, 60_000);
  const events = stored.split('\n\n').length - 1;
  expect(events).toBeGreaterThan(2);
  expect(turn.log.events - events).toBeGreaterThan(SHOWN_AND_LOST);
  expect(turn.builder.blocks).toHaveLength(1);
  expect(turn.isAcknowledged).toBe(true);
});
