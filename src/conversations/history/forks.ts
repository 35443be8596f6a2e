/** Going back in a history, and copying it into another conversation. */
import { itemTexts } from '../../json/edit.ts';
import type { Profile, TurnRow } from '../storage/rows.ts';
import { COMMITTED } from '../storage/tables.ts';
import type { Transcript } from '../storage/transcript.ts';
import { messageOf } from './next-request.ts';
import { answeredTools } from './replayable-blocks.ts';
import { streamOf } from './views.ts';

/**
 * Takes the turn out that a message belongs to, and all after it. In an import, which is one turn, the cut is before the
 * message itself or the next question above it.
 *
 * @returns what changes in the profile; undefined where there is no such message
 */
export function rewindTo(transcript: Transcript, id: string): Partial<Profile> | undefined {
  const found = transcript.findMessage(id);
  const profile = transcript.profile;
  if (!found || !profile) return undefined;
  const cut = boundaryAt(transcript, found);
  return transcript.together(() => {
    transcript.deleteMessages('seq >= ?', cut);
    const gone = transcript.turns(
      'not exists (select 1 from messages where turn = turns.seq) and seq >= ?',
      found.turn,
    );
    for (const turn of gone) {
      transcript.log.delete(turn.seq);
      if (turn.settled) transcript.deleteTurn(turn.seq);
      else transcript.write("update turns set status = 'failed', key = null where seq = ?", turn.seq);
    }
    // What is left of an import has lost its answer, and what that told about its length.
    transcript.write('update turns set tokens = null, frame = null where seq = ? and tokens is not null', found.turn);
    const { turns, messages } = counted(transcript);
    const nextTurn = Math.max(profile.nextTurn, (gone.at(-1)?.seq ?? 0) + 1);
    return { turns, messages, nextTurn, sentFrom: profile.sentFrom >= cut ? 0 : profile.sentFrom };
  });
}

/** The message at or above the found one before which a history can be cut. */
function boundaryAt(transcript: Transcript, found: { seq: number; turn: number }): number {
  const rows = [...transcript.history({ to: found.seq })].filter(({ turn }) => turn === found.turn);
  for (let index = rows.length - 1; index > 0; index -= 1) {
    const row = rows[index];
    if (row?.role !== 'user' || rows[index - 1]?.role !== 'assistant') continue;
    if (answeredTools(messageOf(row).content).length === 0) return row.seq;
  }
  return rows[0]?.seq ?? found.seq;
}

function counted(transcript: Transcript): { turns: number; messages: number } {
  const [row] = transcript.read(
    `select count(distinct t.seq) as turns, count(m.seq) as messages
     from turns t join messages m on m.turn = t.seq where t.status in ${COMMITTED}`,
  );
  return { turns: Number(row?.turns ?? 0), messages: Number(row?.messages ?? 0) };
}

/**
 * @returns the lines that another conversation adopts: what is frozen, the turns, their messages, and an end; undefined
 * where there is no such message
 */
export function forkTo(
  transcript: Transcript,
  profile: Profile,
  at: string | undefined,
): ReadableStream<Uint8Array> | undefined {
  const found = at === undefined ? undefined : transcript.findMessage(at);
  if (at !== undefined && !found) return undefined;
  const until = found?.turn ?? Number.MAX_SAFE_INTEGER;
  // What may be taken out while it is being copied makes the copy incomplete, and it is given up then.
  const { version } = profile;
  function* lines(): Generator<string> {
    const { title, metadata, model, maxTokens, prefix = null, retentionSeconds, history, sentFrom } = profile;
    const kept = { title, metadata, model, maxTokens, prefix, retentionSeconds, history, sentFrom };
    yield line('profile', JSON.stringify(kept));
    for (const [owner, text] of Object.entries(transcript.frozen)) {
      if (text !== undefined) yield line(owner, text);
    }
    const turns = transcript.turns(`status in ${COMMITTED} and seq <= ?`, until);
    for (const turn of turns) {
      yield line('turn', JSON.stringify({ ...turn, key: null, grant: null, settled: true }));
      const messages = transcript.read('select seq from messages where turn = ? order by seq', turn.seq);
      for (const { seq } of messages) {
        for (const { id, role, createdAt, text } of transcript.history({ from: Number(seq), to: Number(seq) })) {
          yield line('message', JSON.stringify({ seq, turn: turn.seq, id, role, createdAt }), text);
        }
      }
    }
    const unchanged = transcript.profile?.exists === true && rewound(transcript, version, turns);
    yield line(unchanged ? 'end' : 'changed', 'null');
  }
  return streamOf(lines());
}

/** @returns whether all turns that were copied are still there. */
function rewound(transcript: Transcript, version: number, turns: readonly TurnRow[]): boolean {
  if (transcript.profile?.version === version) return true;
  const last = turns.at(-1);
  return last === undefined || transcript.turns('seq = ?', last.seq).length > 0;
}

function line(kind: string, ...texts: string[]): string {
  return `[${JSON.stringify(kind)},${texts.join(',')}]\n`;
}

/** Writes what another conversation hands over. @returns the rest of the profile, or undefined if it did not come whole */
export async function adopt(
  transcript: Transcript,
  bytes: ReadableStream<Uint8Array>,
): Promise<Partial<Profile> | undefined> {
  let kept: Partial<Profile> = {};
  // Numbers of turns that failed here are not given again.
  let nextTurn = transcript.profile?.nextTurn ?? 1;
  const taken = nextTurn - 1;
  let nextMessage = 1;
  let whole = false;
  const decoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true });
  let parts: string[] = [];
  for await (const piece of bytes) {
    const pieces = decoder.decode(piece, { stream: true }).split('\n');
    const rest = pieces.pop() ?? '';
    for (const end of pieces) {
      const [kind, first = 'null', second = ''] = itemTexts([...parts, end].join(''));
      parts = [];
      if (kind === '"profile"') kept = JSON.parse(first) as Partial<Profile>;
      else if (kind === '"system"') transcript.freeze('system', first);
      else if (kind === '"tools"') transcript.freeze('tools', first);
      else if (kind === '"turn"') {
        const told = JSON.parse(first) as TurnRow;
        const turn = { ...told, seq: taken + told.seq };
        transcript.beginTurn(turn, []);
        transcript.endTurn(turn);
        nextTurn = turn.seq + 1;
      } else if (kind === '"message"') {
        const message = JSON.parse(first) as { seq: number; turn: number; id: string; role: string; createdAt: number };
        transcript.addMessage({ ...message, turn: taken + message.turn, text: second });
        nextMessage = message.seq + 1;
      } else whole = kind === '"end"';
    }
    parts.push(rest);
  }
  if (!whole) return undefined;
  const { sentFrom = 0 } = kept;
  return { ...kept, ...counted(transcript), nextTurn, nextMessage, sentFrom: sentFrom >= nextMessage ? 0 : sentFrom };
}
