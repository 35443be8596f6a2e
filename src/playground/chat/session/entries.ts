import type { ConversationMessage, MessageStream } from '../../../client/index.ts';
import { type Part, partsOf } from './content.ts';
import type { Session } from './session.ts';

/** What is shown as one message. */
export interface Entry {
  /** Its place: what is coming and the row that it becomes are the same message. */
  key: number;
  role: ConversationMessage['role'];
  parts: readonly Part[];
  /** As it stands in the history. */
  row: ConversationMessage | undefined;
  /** Of an answer that is coming. */
  stream: MessageStream | undefined;
}

/** @returns the history, and behind it what is being asked and answered. */
export function entriesOf(session: Session): Entry[] {
  const entries: Entry[] = session.rows.value.map((row, key) => ({
    key,
    role: row.role,
    parts: partsOf(row.content),
    row,
    stream: undefined,
  }));
  const live = session.live.value;
  const asked = live ? live.asked : session.failure.value?.asked;
  const add = (role: Entry['role'], parts: readonly Part[], stream?: MessageStream) =>
    entries.push({ key: entries.length, role, parts, row: undefined, stream });
  if (asked !== undefined) add('user', partsOf(asked));
  if (live) add('assistant', [], live.stream);
  return entries;
}

/** @returns the results of tools, by the id of their call. */
export function resultsOf(entries: readonly Entry[]): Map<string, Part> {
  const results = entries.flatMap(({ parts }) => parts.filter(({ tool_use_id }) => typeof tool_use_id === 'string'));
  return new Map(results.map((result) => [String(result.tool_use_id), result]));
}
