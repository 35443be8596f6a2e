import { computed, type ReadonlySignal } from '@preact/signals';
import type { ConversationMessage, ConversationTurn, MessageStream } from '../../../client/index.ts';
import { type ContentPart, toContentParts } from './content.ts';
import { markContinuedAnswers } from './models-above.ts';
import { isRefusedWithoutText, isTurnWithoutText, type QuestionFailure } from './outcomes.ts';
import type { Session } from './session.ts';

/** An answer without text: the history contains only the question, and the report of its turn explains the rest. */
export interface AnswerWithoutText {
  question: ConversationMessage;
  step: ConversationTurn['steps'][number];
}

export interface TranscriptEntry {
  /** Its key, which stays the same while the answer arrives and when it has become a row of the history. */
  key: number;
  role: ConversationMessage['role'];
  parts: readonly ContentPart[];
  row: ConversationMessage | undefined;
  /** The stream of an answer that is coming. */
  stream: MessageStream | undefined;
  silence?: AnswerWithoutText;
  /** Whether Claude declined to answer before any text. The history then contains only the question. */
  isRefused?: boolean;
  /** What a turn has cost whose history contains only the question. */
  report?: ConversationTurn | undefined;
  /** The note about a question without an answer. */
  unsent?: string;
  /** The model of the answer directly above, if no question is between the two. */
  modelAbove?: string;
  /** How many steps of its run are in the paused answers above. */
  stepsAbove?: number;
}

/** @returns the history, then the running question and its answer */
export function createTranscriptEntries(session: Session): TranscriptEntry[] {
  const entries: TranscriptEntry[] = [];
  const addEntry = (
    role: TranscriptEntry['role'],
    parts: readonly ContentPart[],
    more: Partial<TranscriptEntry> = {},
  ) => entries.push({ key: entries.length, role, parts, row: undefined, stream: undefined, ...more });
  const rows = session.rows.value;
  for (const [index, row] of rows.entries()) {
    addEntry(row.role, toContentParts(row.content), { row });
    const report = session.runReports.value.get(row.turn);
    if (isRefusedWithoutText(rows, index)) addEntry('assistant', [], { isRefused: true, report });
    const step = isTurnWithoutText(rows, index) ? report?.steps.at(-1) : undefined;
    // A turn without text gets an entry that explains why, from the run's report. Imported messages have no report, so they get
    // none.
    if (step?.stop_reason) addEntry('assistant', [], { silence: { question: row, step }, report });
  }
  const live = session.liveAnswer.value;
  const question = live ? live.question : session.failure.value?.question;
  if (question !== undefined) addEntry('user', toContentParts(question));
  if (live) addEntry('assistant', [], { stream: live.stream });
  else if (question !== undefined)
    Object.assign(entries.at(-1) ?? {}, { unsent: describeUnansweredQuestion(session.failure.value) });
  return markContinuedAnswers(entries);
}

/** A question counts as not sent only if the edge never received it. */
function describeUnansweredQuestion(failure: QuestionFailure | undefined): string {
  return failure?.hasArrived || failure?.error.status !== undefined ? 'Not answered' : 'Not sent';
}

const resultsBySession = new WeakMap<Session, ReadonlySignal<Map<string, ContentPart>>>();

/** @returns the results of tools in a conversation, which are found once for all its messages */
export function getToolResults(session: Session): ReadonlyMap<string, ContentPart> {
  const results = resultsBySession.get(session) ?? computed(() => findToolResults(createTranscriptEntries(session)));
  resultsBySession.set(session, results);
  return results.value;
}

/** @returns the results of tools, by the ids of their calls */
export function findToolResults(entries: readonly Pick<TranscriptEntry, 'parts'>[]): Map<string, ContentPart> {
  const results = entries.flatMap(({ parts }) => parts.filter(({ tool_use_id }) => typeof tool_use_id === 'string'));
  return new Map(results.map((result) => [String(result.tool_use_id), result]));
}
