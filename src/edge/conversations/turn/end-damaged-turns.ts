import { catchDamagedRow } from '../history/storage/damaged-row.ts';
import { parseTurnRow } from '../history/storage/rows.ts';
import { NO_ANSWER } from '../history/storage/tables.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { countTurnsAndMessages } from '../history/storage/turn-queries.ts';
import { computeNextProfileVersion } from './turn-ending.ts';

/**
 * Ends all running turns without reading their rows, because some of these may be damaged: their questions remain without an
 * answer. Nothing is settled here: the account books their holds at the deadline. The same applies to a turn that has ended but
 * whose row is damaged.
 *
 * @param now milliseconds since 1970
 */
export function endDamagedTurns(transcript: Transcript, now: number): void {
  const profile = transcript.uncheckedProfile;
  if (!profile) return;
  transcript.runInTransaction(() => {
    let { nextMessage } = profile;
    const settled = { settled: 1, grant: null, outcome: null };
    for (const row of transcript.readAllRows('select * from turns where settled = 0 order by seq')) {
      const [seq, isRunning] = [Number(row.seq), row.ended_at === null];
      if (!isRunning && !catchDamagedRow(() => parseTurnRow(row))) continue;
      const ended = isRunning ? { status: 'interrupted', ended_at: now } : {};
      transcript.updateRows('turns', { ...settled, ...ended }, 'seq = ?', seq);
      transcript.deleteDamagedContinuation(seq);
      if (!isRunning) continue;
      transcript.log.delete(seq);
      const last = transcript.queryNumber('select max(seq) from messages where turn = ?', seq);
      if (last === undefined) continue;
      const answer = { seq: Math.max(last + 1, nextMessage), turn: seq, id: `msg_${row.id}_answer` };
      transcript.addMessage({ ...answer, role: 'assistant', createdAt: now, text: NO_ANSWER });
      nextMessage = answer.seq + 1;
    }
    const counted = { ...countTurnsAndMessages(transcript), nextMessage, through: transcript.newestTurnNumber };
    const exists = profile.exists || counted.messages > 0;
    transcript.saveProfile({
      ...profile,
      ...counted,
      exists,
      version: computeNextProfileVersion(profile, now),
      updatedAt: now,
      unreported: true,
    });
  });
}
