/** Makes the rows in which a recorded stream is shown: what grows one block bit by bit is one row with its whole text. */
import type { ContentBlockDeltaEvent } from '@anthropic-ai/sdk/resources/messages';
import { parse } from '../../client/errors.ts';
import type { Recording, WireEvent } from '../edge/recording.ts';

export interface WireRow {
  name: string;
  /** The data of an event, or the joined text of deltas. */
  data: string;
  /** How many events it is made of. */
  count: number;
  /** When the first and the last of them came, in milliseconds since the request. */
  from: number;
  to: number;
  /** What its deltas grow; undefined for what is no delta. */
  grows: string | undefined;
}

type Delta = ContentBlockDeltaEvent['delta'];

const rowsByRecording = new WeakMap<Recording, { rows: WireRow[]; read: number }>();

/** @returns the rows of a recording; of one that has grown only what is new is read */
export function rowsOf(recording: Recording): readonly WireRow[] {
  const known = rowsByRecording.get(recording) ?? { rows: [], read: 0 };
  rowsByRecording.set(recording, known);
  for (const event of recording.events.slice(known.read)) add(known.rows, event);
  known.read = recording.events.length;
  return known.rows;
}

function add(rows: WireRow[], { at, name, data }: WireEvent): void {
  const event = name === 'content_block_delta' ? parse<ContentBlockDeltaEvent>(data) : undefined;
  const piece = event && textOfDelta(event.delta);
  if (!event || piece === undefined) {
    rows.push({ name, data, count: 1, from: at, to: at, grows: undefined });
    return;
  }
  const grows = `${event.index} ${event.delta.type}`;
  const last = rows.at(-1);
  if (last?.grows !== grows) {
    rows.push({ name: event.delta.type, data: piece, count: 1, from: at, to: at, grows });
    return;
  }
  last.data += piece;
  last.count += 1;
  last.to = at;
}

/** @returns the text that a delta adds; undefined for one that is not joined */
function textOfDelta(delta: Delta): string | undefined {
  switch (delta.type) {
    case 'text_delta':
      return delta.text;
    case 'thinking_delta':
      return delta.thinking;
    case 'input_json_delta':
      return delta.partial_json;
    default:
      return undefined;
  }
}
