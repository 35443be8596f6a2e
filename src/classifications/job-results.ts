/** Turns the batch's answers into the answers of `/classify`. */

import { pause } from '../async/pause.ts';
import { resultOf } from '../classification/classify.route.ts';
import type { ClassifyResult } from '../classification/classify-answers.schema.ts';
import { elected } from '../classification/task/classify.ts';
import { type AnswerFault, readChoice } from '../classification/task/prompt.ts';
import type { InputFault } from '../durable/contracts/classification.ts';
import { asText, isObject, type Json } from '../json/object.ts';
import type { KeptAnswer } from '../kv/classified-answers.ts';
import type { Usage } from '../pricing/cost.ts';
import { reportOf } from '../upstream/usage/usage-report.ts';
import type { Job, ResultParts, VoteAnswer } from './job-tables.ts';

const VOTE_ID = /^(\d+)-(\d+)(-\w+)?$/;
/** How much of a batch's id distinguishes it: characters of 5 bits, at its end. */
const BATCH_MARK_CHARACTERS = 10;

/**
 * @param batch whose ids are like those of no other batch: if its answer is lost, its results prove which one it is
 * @returns the `custom_id` of a vote about an item
 */
export function customIdOf(batch: string, item: number, vote: number): string {
  return `${item}-${vote}-${batch.slice(-BATCH_MARK_CHARACTERS)}`;
}

/** One line of the batch's results. */
export interface VoteLine {
  item: number;
  vote: number;
  answer: VoteAnswer;
  usage: Usage | undefined;
}

/** Reads a line of the batch's results. @returns undefined if it belongs to none of the items */
export function readVote(line: Json, job: Pick<Job, 'classifier' | 'structured'>): VoteLine | undefined {
  const [, item, vote] = VOTE_ID.exec(asText(line.custom_id)) ?? [];
  if (item === undefined || vote === undefined || !isObject(line.result)) return undefined;
  const { result } = line;
  const message = result.type === 'succeeded' && isObject(result.message) ? result.message : undefined;
  const { usage } = reportOf(message, 0);
  return { item: Number(item), vote: Number(vote), answer: voteAnswerOf(result, message, job), usage };
}

function voteAnswerOf(
  result: Json,
  message: Json | undefined,
  job: Pick<Job, 'classifier' | 'structured'>,
): VoteAnswer {
  if (message) {
    const read = readChoice(message, job);
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

/** Counts what has become of the inputs. Others work between two pages. @param partsAfter reads the page behind an input */
export async function countOutcomes(
  partsAfter: (n: number) => readonly ResultParts[],
  job: Pick<Job, 'classifier' | 'votes'>,
): Promise<{ labelled: number; failed: number }> {
  const counts = { labelled: 0, failed: 0 };
  for (let page = partsAfter(-1); page.length > 0; page = partsAfter(page.at(-1)?.n ?? 0)) {
    for (const parts of page) counts[resultOfParts(parts, job).error ? 'failed' : 'labelled'] += 1;
    await pause(0);
  }
  return counts;
}

/** @returns the result of an input, in the form of `/classify` */
export function resultOfParts(parts: ResultParts, job: Pick<Job, 'classifier' | 'votes'>): Omit<ClassifyResult, 'id'> {
  const { fault, known, item, n, votes } = parts;
  if (fault) return resultOf(job, { outcome: 'unclassified', error: fault });
  if (known) return resultOf(job, { outcome: 'classified', result: { ...known, cached: true } });
  const answer = electedOf(votes, job);
  // If inputs are equal, only the first one went up, and the others share its answer.
  if (answer) return resultOf(job, { outcome: 'classified', result: { ...answer, cached: item !== n } });
  const failed = votes.find((vote) => 'error' in vote);
  return resultOf(job, { outcome: 'unclassified', error: failed?.error ?? LOST });
}

/** @returns what the votes have chosen; undefined if no vote was valid */
export function electedOf(
  votes: readonly VoteAnswer[],
  job: Pick<Job, 'classifier' | 'votes'>,
): KeptAnswer | undefined {
  const choices = votes.flatMap((vote) => ('error' in vote ? [] : [vote]));
  return choices.length === 0 ? undefined : elected(job, choices);
}
