/** Turns the batch's answers into the answers of `/classify`. */

import { type Nanodollars, toUsd, type Usage } from '../../claude/pricing/cost.ts';
import { reportOf } from '../../claude/usage/usage-report.ts';
import { Pacer } from '../../kit/async/in-steps.ts';
import { isoTimeOrNull } from '../../kit/http/times.ts';
import { asText, isObject, type Json } from '../../kit/json/object.ts';
import type { ClassificationReport } from '../../named/classify/classifications-answers.schema.ts';
import { resultOf } from '../../named/classify/classify.route.ts';
import type { ClassifyResult, ClassifyUsage, KeptAnswer } from '../../named/classify/classify-answers.schema.ts';
import { elected } from '../../named/classify/task/classify.ts';
import { type AnswerFault, readChoice } from '../../named/classify/task/prompt.ts';
import { Total } from '../../named/classify/task/total.ts';
import type { InputFault, LabelCounts, LabelTask, ResultPage } from './contracts/classification.ts';
import type { LabelTables, ResultParts, VoteAnswer } from './label-tables.ts';

/** The `custom_id` of a vote about an item. */
const VOTE_ID = /^(\d+)-(\d+)$/;
const RESULTS_AT_ONCE = 500;
const VOTES_AT_ONCE = 500;

/** Writes the labels of results as they are read. */
export class LabelWriter {
  readonly #task: LabelTask;
  readonly #store: (votes: readonly VoteLine[]) => void;
  readonly #total = new Total();
  #votes: VoteLine[] = [];

  /** @param store called with some votes at a time */
  constructor(task: LabelTask, store: (votes: readonly VoteLine[]) => void) {
    this.#task = task;
    this.#store = store;
  }

  /** Takes a line of the batch's results. */
  add(line: Json): void {
    const vote = readVote(line, this.#task);
    if (!vote) return;
    this.#total.add({ nanodollars: 0, usage: vote.usage });
    this.#votes.push(vote);
    if (this.#votes.length >= VOTES_AT_ONCE) this.#store(this.#votes.splice(0));
  }

  end(): ClassifyUsage {
    this.#store(this.#votes.splice(0));
    return this.#total.usage;
  }
}

/** One line of the batch's results. */
interface VoteLine {
  item: number;
  vote: number;
  answer: VoteAnswer;
  usage: Usage | undefined;
}

/** Reads a line of the batch's results. @returns undefined if it belongs to none of the items */
function readVote(line: Json, task: LabelTask): VoteLine | undefined {
  const [, item, vote] = VOTE_ID.exec(asText(line.custom_id)) ?? [];
  if (item === undefined || vote === undefined || !isObject(line.result)) return undefined;
  const { result } = line;
  const message = result.type === 'succeeded' && isObject(result.message) ? result.message : undefined;
  const { usage } = reportOf(message, 0);
  return { item: Number(item), vote: Number(vote), answer: voteAnswerOf(result, message, task), usage };
}

function voteAnswerOf(result: Json, message: Json | undefined, task: LabelTask): VoteAnswer {
  if (message) {
    const read = readChoice(message, task);
    return 'labels' in read ? read : { error: errorOfFault(read) };
  }
  const { type, message: said } = isObject(result.error) && isObject(result.error.error) ? result.error.error : {};
  const { type: own, message: failed } = UNANSWERED.get(result.type) ?? sendAgain('The upstream has failed.');
  return {
    error: { type: typeof type === 'string' ? type : own, message: typeof said === 'string' ? said : failed },
  };
}

const sendAgain = (why: string): InputFault => ({ type: 'api_error', message: `${why} Send this input again.` });

const LOST = sendAgain('The batch with its answer is not there any more.');

/** Why an item has no answer, by the type of its result. */
const UNANSWERED: ReadonlyMap<unknown, InputFault> = new Map([
  ['canceled', sendAgain('It was canceled before a model had answered.')],
  ['expired', sendAgain('No model had answered within a day.')],
]);

function errorOfFault({ fault, kind }: AnswerFault): InputFault {
  if (kind === 'refused' || kind === 'too_long') return { type: 'invalid_request_error', message: `input: ${fault}.` };
  return {
    type: 'api_error',
    message: `The model gave no usable answer: ${fault}. Send this input to /classify, which asks once more.`,
  };
}

/** Counts what has become of the inputs. @param isOver whether nobody wants to know any more */
export async function countOutcomes(tables: LabelTables, task: LabelTask, isOver: () => boolean) {
  const counts = { labelled: 0, failed: 0 };
  const pacer = new Pacer();
  const partsAfter = (n: number) => (isOver() ? [] : tables.partsAfter(n, RESULTS_AT_ONCE));
  for (let page = partsAfter(-1); page.length > 0; page = partsAfter(page.at(-1)?.n ?? 0)) {
    for (const parts of page) {
      await pacer.before(parts.id.length);
      counts[resultOfParts(parts, task).error ? 'failed' : 'labelled'] += 1;
    }
  }
  return counts;
}

/** @returns the next results, as lines of JSON */
export function resultPage(tables: LabelTables, after: number, task: LabelTask): ResultPage {
  const page = tables.partsAfter(after, RESULTS_AT_ONCE);
  const lines = page.map(
    (parts) => `${JSON.stringify({ type: 'result', id: parts.id, ...resultOfParts(parts, task) })}\n`,
  );
  return { lines: lines.join(''), last: page.at(-1)?.n ?? null };
}

/** @returns the result of an input, in the form of `/classify` */
function resultOfParts(parts: ResultParts, task: LabelTask): Omit<ClassifyResult, 'id'> {
  const { fault, known, item, n, votes } = parts;
  if (fault) return resultOf(task, { outcome: 'unclassified', error: fault });
  if (known) return resultOf(task, { outcome: 'classified', result: { ...known, cached: true } });
  const answer = electedOf(votes, task);
  // If inputs are equal, only the first one went up, and the others share its answer.
  if (answer) return resultOf(task, { outcome: 'classified', result: { ...answer, cached: item !== n } });
  const failed = votes.find((vote) => 'error' in vote);
  return resultOf(task, { outcome: 'unclassified', error: failed?.error ?? LOST });
}

/** @returns what the votes have chosen; undefined if no vote was valid */
export function electedOf(votes: readonly VoteAnswer[], task: LabelTask): KeptAnswer | undefined {
  const choices = votes.flatMap((vote) => ('error' in vote ? [] : [vote]));
  return choices.length === 0 ? undefined : elected(task, choices);
}

interface Reported {
  model: string;
  version: string | null;
  id: string;
  batch: string;
  isEnded: boolean;
  counts: LabelCounts & { labelled?: number; failed?: number };
  usage?: ClassificationReport['usage'] | undefined;
  cost?: Nanodollars | undefined;
  createdAt: number;
  cancelAt?: number | undefined;
  endedAt?: number | undefined;
}

/** @returns the state of a classification. The address of its results depends on the caller. */
export function shownLabels(reported: Reported): ClassificationReport {
  const { id, isEnded, version, model, counts, batch, cancelAt, usage, cost, createdAt, endedAt } = reported;
  return {
    id,
    type: 'classification_batch',
    status: isEnded ? 'ended' : cancelAt === undefined ? 'in_progress' : 'canceling',
    classifier: version,
    model,
    counts: { labelled: 0, failed: 0, ...counts, processing: isEnded ? 0 : counts.inputs },
    batch: counts.requests > 0 ? batch : null,
    usage: isEnded ? (usage ?? new Total().usage) : null,
    cost_usd: isEnded && cost !== undefined ? toUsd(cost) : null,
    created_at: new Date(createdAt).toISOString(),
    ended_at: isoTimeOrNull(endedAt),
    results_url: null,
  };
}
