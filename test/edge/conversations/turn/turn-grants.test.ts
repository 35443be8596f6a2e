import { expect, test } from 'vitest';
import type { TurnRow } from '#edge/conversations/history/storage/rows.ts';
import type { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import { TurnGrantStore } from '#edge/conversations/turn/turn-grants.ts';

const ADMITTED = { requestId: 'req_1', hold: 1_000 };

test('ends with the grant of the last admitted attempt, however many later ones were rejected', () => {
  for (const rejected of [0, 1, 2, 3]) {
    const row = { requestId: 'req_1', grant: ADMITTED, beganAt: 0 } as unknown as TurnRow;
    const grants = new TurnGrantStore({ updateTurn: () => {} } as unknown as Transcript, row);
    const ids = Array.from({ length: rejected }, () => {
      grants.storeNextAttemptId(700, 1_000);
      return row.grant?.requestId;
    });
    expect(ids).toEqual(['req_1.2', 'req_1.3', 'req_1.4'].slice(0, rejected));
    grants.restoreLastAdmittedGrant();
    expect([rejected, row.grant]).toEqual([rejected, ADMITTED]);
  }
});
