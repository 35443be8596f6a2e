/** Which turns are sent when a history has outgrown what its conversation allows. */
import { invalidRequest } from '../../http/errors.ts';
import type { Profile } from '../storage/rows.ts';
import type { Transcript } from '../storage/transcript.ts';

/** A turn as far as making room needs to know it. */
export interface Sized {
  /** Its first message. */
  from: number;
  /** Tokens that it adds to a prompt. */
  tokens: number;
  /** It must not be sent without the turn before it. */
  follows: boolean;
}

/** Once room is made, so much of the limit is filled: a cut at each turn would lose the upstream's prompt cache each time. */
const FILLED = 0.75;
/** A token is rarely shorter. */
const CHARACTERS_PER_TOKEN = 3;

/**
 * Finds the first message to send: whole oldest turns are left out, never a call without its result.
 *
 * @param start the message from which was sent until now
 * @returns the same as long as all fits
 */
export function firstToSend(turns: readonly Sized[], start: number, fresh: number, most: number): number {
  const sent = turns.filter(({ from }) => from >= start);
  let tokens = fresh + sent.reduce((sum, turn) => sum + turn.tokens, 0);
  if (tokens <= most) return start;
  for (const [index, turn] of sent.entries()) {
    if (index > 0 && !turn.follows && tokens <= most * FILLED) return turn.from;
    tokens -= turn.tokens;
  }
  // What the new messages answer stays, however long it is.
  const last = sent.findLast(({ follows }) => !follows);
  return last?.from ?? start;
}

/**
 * @param characters of what is new
 * @param follows whether what is new belongs to the last turn, which must stay then
 * @throws ApiError 400 where a conversation is not to be truncated and has become too long
 */
export function roomFor(
  transcript: Transcript,
  profile: Profile | undefined,
  characters: number,
  follows: boolean,
): { from: number } {
  const from = profile?.sentFrom ?? 0;
  if (!profile?.history) return { from };
  const { max_tokens: most, strategy } = profile.history;
  const turns = sizesOf(transcript);
  const fresh = Math.ceil(characters / CHARACTERS_PER_TOKEN);
  const total = (start: number) =>
    fresh + turns.filter((turn) => turn.from >= start).reduce((sum, turn) => sum + turn.tokens, 0);
  if (total(from) <= most) return { from };
  if (strategy === 'error') {
    throw invalidRequest(
      `messages: this conversation is longer than its limit of ${most} tokens. Rewind or fork it, or let it truncate (PATCH history).`,
    );
  }
  const first = firstToSend(turns, from, fresh, most);
  // A new question may be sent without any turn before it; the results of calls may not.
  return { from: total(first) > most && !follows ? profile.nextMessage : first };
}

function sizesOf(transcript: Transcript): Sized[] {
  const rows = transcript.read(
    `select t.seq, t.follows, t.tokens, t.sent_from, min(m.seq) as first, sum(m.characters) as characters
     from turns t join messages m on m.turn = t.seq
     where t.status in ('complete', 'interrupted', 'stopped', 'empty') group by t.seq order by t.seq`,
  );
  let before: { tokens: number; sentFrom: number } | undefined;
  return rows.map((row) => {
    const said = row.tokens === null ? undefined : { tokens: Number(row.tokens), sentFrom: Number(row.sent_from) };
    // Two prompts of which one begins the other tell what lies between them.
    const grown = said && before?.sentFrom === said.sentFrom ? said.tokens - before.tokens : 0;
    const whole = said && !before ? said.tokens : 0;
    before = said;
    const tokens = grown > 0 ? grown : whole > 0 ? whole : Math.ceil(Number(row.characters) / CHARACTERS_PER_TOKEN);
    return { from: Number(row.first), tokens, follows: row.follows === 1 };
  });
}
