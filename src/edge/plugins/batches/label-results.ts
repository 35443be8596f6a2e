/** Reads the results of a batch as labels. */

import { toItemResult } from '../../classify/classify.route.ts';
import { chooseMajorityLabels } from '../../classify/task/classify.ts';
import { CostTotal } from '../../classify/task/cost-total.ts';
import { type AnswerFault, readLabelsFromAnswer } from '../../classify/task/prompt.ts';
import type { AnsweredExchange } from '../../claude/exchange.ts';
import { createResponseReport } from '../../claude/usage/usage-report.ts';
import { isObject, type JsonObject } from '../../kit/json/object.ts';
import type { BatchLabelTask } from './contracts/batch.ts';
import { getResultMessage, parseResultLine, readResultLines } from './read-results.ts';

/** Why an input has no label. */
interface MissingLabelReason {
  type: string;
  message: string;
}

/**
 * Yields results as lines of JSON in the form of `/classify`, in the upstream's order, and the summary at the end.
 *
 * @throws Error if they break off, or if a line is not a result
 */
export async function* writeLabelLines(
  answered: AnsweredExchange,
  task: BatchLabelTask,
  cost_usd: number | null,
): AsyncGenerator<string, void> {
  const total = new CostTotal();
  for await (const bytes of readResultLines(answered)) {
    const line = parseResultLine(bytes);
    if (!line) continue;
    const { id, result } = line;
    const message = getResultMessage(result);
    total.addCost({ nanodollars: 0, usage: createResponseReport(message, 0).usage });
    yield `${JSON.stringify({ type: 'result', id, ...readLabel(result, message, task) })}\n`;
  }
  yield `${JSON.stringify({ type: 'summary', usage: total.usage, cost_usd, model: task.model })}\n`;
}

function readLabel(result: JsonObject, message: JsonObject | undefined, task: BatchLabelTask) {
  const choice = message && readLabelsFromAnswer(message, task);
  if (choice && 'labels' in choice) {
    const answer = { ...chooseMajorityLabels({ ...task, votes: 1 }, [choice]), cached: false };
    return toItemResult(task, { outcome: 'classified', result: answer });
  }
  return toItemResult(task, {
    outcome: 'unclassified',
    error: choice ? explainAnswerFault(choice) : toMissingLabelReason(result),
  });
}

/** @returns why an item has no answer, in the upstream's words if it has any */
function toMissingLabelReason({ type: outcome, error }: JsonObject): MissingLabelReason {
  const { type, message: reason } = isObject(error) && isObject(error.error) ? error.error : {};
  const { type: own, message: failed } = UNANSWERED.get(outcome) ?? createRetryReason('The upstream failed.');
  return { type: typeof type === 'string' ? type : own, message: typeof reason === 'string' ? reason : failed };
}

const createRetryReason = (why: string): MissingLabelReason => ({
  type: 'api_error',
  message: `${why} Send this input again.`,
});

/** Why an item has no answer, by the type of its result. */
const UNANSWERED: ReadonlyMap<unknown, MissingLabelReason> = new Map([
  ['canceled', createRetryReason('The batch was canceled before a model responded.')],
  ['expired', createRetryReason('No model responded within a day.')],
]);

function explainAnswerFault({ fault, kind }: AnswerFault): MissingLabelReason {
  if (kind === 'refused' || kind === 'too_long') return { type: 'invalid_request_error', message: `input: ${fault}.` };
  return {
    type: 'api_error',
    message: `The model returned no usable response: ${fault}. Send this input to POST /classify, which tries twice.`,
  };
}
