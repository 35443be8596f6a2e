/**
 * Reads long histories. SQLite joins the texts of many messages into one value: to read them row by row takes several times
 * as long.
 */

import type { JoinedMessages } from '../../../claude/request/sent-history.ts';
import { encoder } from '../../../kit/http/bytes.ts';
import { removeThinking } from './message-text.ts';
import { NO_ANSWER } from './tables.ts';
import type { Transcript } from './transcript.ts';

/** This many numbers of messages are read with one statement. */
const NUMBERS_PER_QUERY = 128;
/** A piece of so short messages stays below the platform's limit of 2 MB for a value, even at three bytes a character. */
const SHORT_CHARACTERS = 'characters <= 4000 and text is not null';
/** Statuses of turns whose messages are sent; of those that are not, most conversations have none. */
const SENT_STATUSES = "('complete', 'interrupted', 'stopped', 'empty')";

const createMessageTextsQuery = (from: string) => `
  select cast(group_concat(text, ',') filter (where ${SHORT_CHARACTERS}) as blob) as joined, count(*) as messages,
    count(*) filter (where ${SHORT_CHARACTERS}) as short
  from (select text, characters from ${from} order by m.seq)`;
const ALL_TURNS_QUERY = createMessageTextsQuery(
  `messages m where m.seq between ? and ? and text is not '${NO_ANSWER}'`,
);
const SENT_TURNS_QUERY = createMessageTextsQuery(
  `messages m join turns t on t.seq = m.turn
   where m.seq between ? and ? and t.status in ${SENT_STATUSES} and text is not '${NO_ANSWER}'`,
);

/** Whether a message may have thinking. */
const MAY_HAVE_THINKING = `(instr(text, 'thinking"') or instr(text, 'connector_text"'))`;

/**
 * Reads the messages that are sent, in order, from a number on.
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
    const isWhole =
      unbound.size === 0 ||
      !transcript.hasRows(`messages where seq between ? and ? and ${MAY_HAVE_THINKING}`, first, to);
    if (row?.short === messages && isWhole) {
      yield { bytes: new Uint8Array(row.joined as ArrayBuffer), messages };
    } else {
      const texts = Array.from(
        transcript.messages.readMessageTexts({ from: first, to, sent: true }),
        ({ text, turn }) => (unbound.has(turn) ? removeThinking(text) : text),
      );
      yield { bytes: encoder.encode(texts.join(',')), messages };
    }
  }
}
