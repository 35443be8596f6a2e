/** Reads the results of a classification's batch. */

import { resultLines } from '../batches/read-results.ts';
import type { ClassifyUsage } from '../classification/classify-answers.schema.ts';
import { Total } from '../classification/task/total.ts';
import { parseObject } from '../json/object.ts';
import type { AnsweredCall } from '../upstream/exchange.ts';
import { readVote, type VoteLine } from './job-results.ts';
import type { Job } from './job-tables.ts';

const VOTES_AT_ONCE = 500;

/**
 * Reads results to their end, as they come.
 *
 * @param store called with some votes at a time
 * @returns the usage of the answers
 * @throws Error if the results break off
 */
export async function readVotes(
  answered: AnsweredCall,
  job: Job,
  store: (votes: readonly VoteLine[]) => void,
): Promise<ClassifyUsage> {
  const total = new Total();
  let votes: VoteLine[] = [];
  for await (const bytes of resultLines(answered)) {
    const line = parseObject(bytes);
    const vote = line && readVote(line, job);
    if (!vote) continue;
    votes.push(vote);
    total.add({ nanodollars: 0, usage: vote.usage });
    if (votes.length < VOTES_AT_ONCE) continue;
    store(votes);
    votes = [];
  }
  store(votes);
  return total.usage;
}
