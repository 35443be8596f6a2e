import { expect, test } from 'vitest';
import type { TurnRow } from '#edge/conversations/history/storage/rows.ts';
import { addNotes, parseNotes, selectVisibleNotes } from '#edge/conversations/history/storage/turn-notes.ts';

const chosen_by = { label: 'easy', classifier: 'difficulty@1', arm: 'chosen', why: 'label' };
const deliver_url = 'https://hooks.example.com/own';
const blank = (): Pick<TurnRow, 'notes'> => ({ notes: null });

test('what plugins note of a turn stands beside what others have noted', () => {
  const row = blank();
  addNotes(row, { deliver_url });
  addNotes(row, { chosen_by });
  expect(parseNotes(JSON.stringify(row.notes))).toEqual({ deliver_url, chosen_by });
});

test('messages show how a model was chosen, but not where the end of a turn goes', () => {
  const row = blank();
  addNotes(row, {});
  expect(row).toEqual(blank());
  addNotes(row, { deliver_url });
  expect(selectVisibleNotes(row)).toBeNull();
  addNotes(row, { chosen_by });
  expect(selectVisibleNotes(row)).toEqual({ chosen_by });
});

test('a turn whose notes cannot be read has none', () => {
  expect(parseNotes('{"chosen_by"')).toBeNull();
  expect(parseNotes(null)).toBeNull();
});
