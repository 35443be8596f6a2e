/** The pass over the results of a classification's batch. */

import { IdleTimeout } from '../async/idle-timeout.ts';
import { resultLines } from '../batches/read-results.ts';
import type { ClassifyUsage } from '../classification/classify-answers.schema.ts';
import { Total } from '../classification/task/total.ts';
import { parseObject } from '../json/object.ts';
import { interrupted } from '../upstream/failure.ts';
import { readVote, type VoteLine } from './job-results.ts';
import type { Job } from './job-tables.ts';

const VOTES_AT_ONCE = 500;

/**
 * Reads results to their end, as they come.
 *
 * @param store is given some votes at a time
 * @param idleMs after so long a silence the controller is aborted
 * @returns what the answers have used
 * @throws Error for what breaks off
 */
export async function readVotes(
  response: Response,
  job: Job,
  {
    store,
    controller,
    idleMs,
  }: { store: (votes: readonly VoteLine[]) => void; controller: AbortController; idleMs: number },
): Promise<ClassifyUsage> {
  const watchdog = new IdleTimeout(controller, idleMs, idleMs, () => interrupted(true));
  const total = new Total();
  let votes: VoteLine[] = [];
  try {
    for await (const bytes of resultLines(response, () => watchdog.touch())) {
      const line = parseObject(bytes);
      const vote = line && readVote(line, job);
      if (!vote) continue;
      votes.push(vote);
      total.add({ nanodollars: 0, usage: vote.usage });
      if (votes.length < VOTES_AT_ONCE) continue;
      store(votes);
      votes = [];
    }
  } finally {
    watchdog.stop();
  }
  store(votes);
  return total.usage;
}
