import { computed, type ReadonlySignal } from '@preact/signals';
import type { ConversationMessage, MessageStream } from '../../../client/index.ts';
import { type Part, partsOf } from './content.ts';
import { withModelsAbove } from './models-above.ts';
import type { Failure } from './outcomes.ts';
import type { Session } from './session.ts';

/** One message as it is shown. */
export interface Entry {
  /** Its place, the same while the answer comes and when it has become a row of the history. */
  key: number;
  role: ConversationMessage['role'];
  parts: readonly Part[];
  row: ConversationMessage | undefined;
  /** The stream of an answer that is coming. */
  stream: MessageStream | undefined;
  /** What is said of a question that got no answer. */
  unsent?: string;
  /** The model of the answer right above, where no question stands between the two. */
  modelAbove?: string;
}

/** @returns the history, then the running question and its answer */
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
  else if (asked !== undefined) Object.assign(entries.at(-1) ?? {}, { unsent: unsentNote(session.failure.value) });
  return withModelsAbove(entries);
}

/** What was refused has not left the edge. Of an answer that broke off nobody here knows how far it came. */
function unsentNote(failure: Failure | undefined): string {
  return failure?.arrived && failure.error.status === undefined ? 'No answer' : 'Not sent';
}

const resultsBySession = new WeakMap<Session, ReadonlySignal<Map<string, Part>>>();

/** @returns the results of tools in a conversation, which are found once for all its messages */
export function resultsIn(session: Session): ReadonlyMap<string, Part> {
  const results = resultsBySession.get(session) ?? computed(() => resultsOf(entriesOf(session)));
  resultsBySession.set(session, results);
  return results.value;
}

/** @returns the results of tools, by the ids of their calls */
export function resultsOf(entries: readonly Pick<Entry, 'parts'>[]): Map<string, Part> {
  const results = entries.flatMap(({ parts }) => parts.filter(({ tool_use_id }) => typeof tool_use_id === 'string'));
  return new Map(results.map((result) => [String(result.tool_use_id), result]));
}
