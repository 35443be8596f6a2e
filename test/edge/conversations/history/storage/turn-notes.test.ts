import { expect, test } from 'vitest';
import type { TurnRow } from '#edge/conversations/history/storage/rows.ts';
import { addNotes, parseNotes, selectVisibleNotes } from '#edge/conversations/history/storage/turn-notes.ts';

const chosen_by = { label: 'easy', classifier: 'difficulty@1', arm: 'chosen', why: 'label' };
const deliver_url = 'https://hooks.example.com/own';
const blank = (): Pick<TurnRow, 'notes'> => ({ notes: null });

test('addNotes keeps the notes of other plugins', () => {
  const row = blank();
  addNotes(row, { deliver_url });
  addNotes(row, { chosen_by });
  expect(parseNotes(JSON.stringify(row.notes))).toEqual({ deliver_url, chosen_by });
});

test('selectVisibleNotes returns the choice of the model, but not the delivery URL', () => {
  const row = blank();
  addNotes(row, {});
  expect(row).toEqual(blank());
  addNotes(row, { deliver_url });
  expect(selectVisibleNotes(row)).toBeNull();
  addNotes(row, { chosen_by });
  expect(selectVisibleNotes(row)).toEqual({ chosen_by });
});

test('parseNotes returns null for missing or unreadable notes', () => {
  expect(parseNotes('{"chosen_by"')).toBeNull();
  expect(parseNotes(null)).toBeNull();
});
