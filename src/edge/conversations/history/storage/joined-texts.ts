/**
 * Reads long histories. SQLite joins the texts of many messages into one value: to read them row by row takes several times
 * as long.
 */

import type { JoinedMessages } from '../../../claude/request/sent-history.ts';
import { PIECE_CHARACTERS, removeThinking } from './message-text.ts';
import { readEachTextPiece } from './pieces.ts';
import { NO_ANSWER } from './tables.ts';
import type { Transcript } from './transcript.ts';

/** This many numbers of messages are read with one statement. */
const NUMBERS_PER_QUERY = 128;
/** A piece of so short messages stays below the platform's limit of 2 MB for a value, even at three bytes a character. */
const SHORT_CHARACTERS = 4_000;
/** Statuses of turns whose messages are sent; of those that are not, most conversations have none. */
const SENT_STATUSES = "('complete', 'interrupted', 'stopped', 'empty')";

/** Reads no long text: a message of which nothing is left has a short one. */
const createMessageTextsQuery = (from: string) => `
  select cast(group_concat(short, ',') as blob) as joined, count(*) as messages, count(short) as short
  from (select case when characters <= ${SHORT_CHARACTERS} then text end as short from ${from}
        and (characters > ${SHORT_CHARACTERS} or text is not '${NO_ANSWER}') order by m.seq)`;
const ALL_TURNS_QUERY = createMessageTextsQuery('messages m where m.seq between ? and ?');
const SENT_TURNS_QUERY = createMessageTextsQuery(
  `messages m join turns t on t.seq = m.turn where m.seq between ? and ? and t.status in ${SENT_STATUSES}`,
);

/** Finds a message whose text is in pieces, if it is sent. */
const LONG_MESSAGE_QUERY = `
  select m.turn from messages m join turns t on t.seq = m.turn
  where m.seq = ? and m.text is null and t.status in ${SENT_STATUSES}`;

/** Whether a message may have thinking. */
const MAY_HAVE_THINKING = `(instr(text, 'thinking"') or instr(text, 'connector_text"'))`;

/**
 * Reads the messages that are sent, in order, from a number on. No query reads much more than one row may contain.
 *
 * @param unbound the turns whose thinking is left out
 * @param until the number of the last message; default: all
 */
export function* readJoinedTexts(
  transcript: Transcript,
  from: number,
  unbound: ReadonlySet<number>,
  until?: number,
): Generator<JoinedMessages> {
  const last = until ?? transcript.queryNumberOrZero('select max(seq) from messages');
  // Use the simpler statement if no turn has a status that is not sent. This check costs less than looking up the turn of each
  // message.
  const statement = transcript.hasRows(`turns where status not in ${SENT_STATUSES}`)
    ? SENT_TURNS_QUERY
    : ALL_TURNS_QUERY;
  for (let first = from; first <= last; first += NUMBERS_PER_QUERY) {
    const to = Math.min(last, first + NUMBERS_PER_QUERY - 1);
    const [row] = transcript.readAllRows(statement, first, to);
    const messages = Number(row?.messages ?? 0);
    if (messages === 0) continue;
    const isJoined =
      row?.short === messages &&
      (unbound.size === 0 ||
        !transcript.hasRows(`messages where seq between ? and ? and ${MAY_HAVE_THINKING}`, first, to));
    if (isJoined) yield { joined: new Uint8Array(row.joined as ArrayBuffer), messages };
    else yield* readTextsByLength(transcript, first, to, unbound);
  }
}

/** Reads messages of which some are long, or have thinking that is left out. */
function* readTextsByLength(
  transcript: Transcript,
  first: number,
  last: number,
  unbound: ReadonlySet<number>,
): Generator<JoinedMessages> {
  for (const { from, to, characters } of divideByLength(transcript, first, last)) {
    const [long] = characters > PIECE_CHARACTERS ? transcript.readAllRows(LONG_MESSAGE_QUERY, from) : [];
    if (long && !unbound.has(Number(long.turn))) {
      yield { joined: readEachTextPiece(transcript, from), messages: 1 };
      continue;
    }
    const texts = Array.from(transcript.messages.readMessageTexts({ from, to, sent: true }), ({ text, turn }) =>
      unbound.has(turn) ? removeThinking(text) : text,
    );
    if (texts.length > 0) yield { joined: [texts.join(',')], messages: texts.length };
  }
}

interface MessageGroup {
  /** The numbers of the first message and of the last one. */
  from: number;
  to: number;
  characters: number;
}

/** @returns messages in groups that are no longer than a row may be, or have one message */
function divideByLength(transcript: Transcript, first: number, last: number): MessageGroup[] {
  const groups: MessageGroup[] = [];
  const rows = transcript.readAllRows<{ seq: number; characters: number }>(
    'select seq, characters from messages where seq between ? and ? order by seq',
    first,
    last,
  );
  for (const { seq, characters } of rows) {
    const group = groups.at(-1);
    if (group && group.characters + characters <= PIECE_CHARACTERS) {
      group.to = seq;
      group.characters += characters;
    } else groups.push({ from: seq, to: seq, characters });
  }
  return groups;
}
