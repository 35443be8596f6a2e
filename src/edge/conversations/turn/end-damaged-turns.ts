import { catchDamage } from '../history/storage/damaged-row.ts';
import { turnOf } from '../history/storage/rows.ts';
import { NO_ANSWER } from '../history/storage/tables.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { countHistory } from '../history/storage/turn-queries.ts';
import { nextVersion } from './turn-ending.ts';

/**
 * Ends the turns that were running, where their rows cannot be read: their questions stay, without an answer. Nothing is
 * settled here: the account books what was set aside. So it does for a turn that has ended but whose row is damaged.
 *
 * @param now milliseconds since 1970
 */
export function endDamagedTurns(transcript: Transcript, now: number): void {
  const profile = transcript.readable;
  if (!profile) return;
  transcript.transact(() => {
    let { nextMessage } = profile;
    const settled = { settled: 1, grant: null, outcome: null };
    for (const row of transcript.read('select * from turns where settled = 0 order by seq')) {
      const [seq, isRunning] = [Number(row.seq), row.ended_at === null];
      if (!isRunning && !catchDamage(() => turnOf(row))) continue;
      const ended = isRunning ? { status: 'interrupted', ended_at: now } : {};
      transcript.update('turns', { ...settled, ...ended }, 'seq = ?', seq);
      transcript.dropDamaged(seq);
      if (!isRunning) continue;
      transcript.log.delete(seq);
      const last = transcript.queryNumber('select max(seq) from messages where turn = ?', seq);
      if (last === undefined) continue;
      const answer = { seq: Math.max(last + 1, nextMessage), turn: seq, id: `msg_${row.id}_answer` };
      transcript.addMessage({ ...answer, role: 'assistant', createdAt: now, text: NO_ANSWER });
      nextMessage = answer.seq + 1;
    }
    const counted = { ...countHistory(transcript), nextMessage, through: transcript.newestTurn };
    const exists = profile.exists || counted.messages > 0;
    transcript.save({
      ...profile,
      ...counted,
      exists,
      version: nextVersion(profile, now),
      updatedAt: now,
      unreported: true,
    });
  });
}
