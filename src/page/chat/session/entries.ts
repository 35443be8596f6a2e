import { computed, type ReadonlySignal } from '@preact/signals';
import type { ConversationMessage, ConversationTurn, MessageStream } from '../../../client/index.ts';
import { type Part, partsOf } from './content.ts';
import { withModelsAbove } from './models-above.ts';
import { type Failure, isSilent } from './outcomes.ts';
import type { Session } from './session.ts';

/** An answer without text: the history has only what was asked, and the report of its turn tells the rest. */
export interface Silence {
  question: ConversationMessage;
  step: ConversationTurn['steps'][number];
}

export interface Entry {
  /** Its place, the same while the answer comes and when it has become a row of the history. */
  key: number;
  role: ConversationMessage['role'];
  parts: readonly Part[];
  row: ConversationMessage | undefined;
  /** The stream of an answer that is coming. */
  stream: MessageStream | undefined;
  silence?: Silence;
  /** What is said of a question that got no answer. */
  unsent?: string;
  /** The model of the answer right above, where no question stands between the two. */
  modelAbove?: string;
  /** How many steps of its run stand in the answers above, which have paused. */
  stepsAbove?: number;
}

/** @returns the history, then the running question and its answer */
export function entriesOf(session: Session): Entry[] {
  const entries: Entry[] = [];
  const add = (role: Entry['role'], parts: readonly Part[], more: Partial<Entry> = {}) =>
    entries.push({ key: entries.length, role, parts, row: undefined, stream: undefined, ...more });
  const rows = session.rows.value;
  for (const [index, row] of rows.entries()) {
    add(row.role, partsOf(row.content), { row });
    const step = isSilent(rows, index) ? session.runs.value.get(row.turn)?.steps.at(-1) : undefined;
    // Of what was imported nobody knows why it has no answer.
    if (step?.stop_reason) add('assistant', [], { silence: { question: row, step } });
  }
  const live = session.live.value;
  const question = live ? live.question : session.failure.value?.question;
  if (question !== undefined) add('user', partsOf(question));
  if (live) add('assistant', [], { stream: live.stream });
  else if (question !== undefined) Object.assign(entries.at(-1) ?? {}, { unsent: unsentNote(session.failure.value) });
  return withModelsAbove(entries);
}

/** Only what the edge never had was not sent. */
function unsentNote(failure: Failure | undefined): string {
  return failure?.arrived || failure?.error.status !== undefined ? 'Not answered' : 'Not sent';
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
