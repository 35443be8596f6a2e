/** Reads the results of a batch as labels. */

import { resultOf } from '../../classify/classify.route.ts';
import { electLabels } from '../../classify/task/classify.ts';
import { CostTotal } from '../../classify/task/cost-total.ts';
import { type AnswerFault, readChoice } from '../../classify/task/prompt.ts';
import type { AnsweredCall } from '../../claude/exchange.ts';
import { createResponseReport } from '../../claude/usage/usage-report.ts';
import { isObject, type Json } from '../../kit/json/object.ts';
import type { LabelTask } from './contracts/batch.ts';
import { messageOfResult, parseResultLine, readResultLines } from './read-results.ts';

/** Why an input has no label. */
interface LabelFault {
  type: string;
  message: string;
}

/**
 * Yields results as lines of JSON in the form of `/classify`, in the upstream's order, and the summary at the end.
 *
 * @throws Error if they break off, or if a line is not a result
 */
export async function* writeLabelLines(
  answered: AnsweredCall,
  task: LabelTask,
  cost_usd: number | null,
): AsyncGenerator<string, void> {
  const total = new CostTotal();
  for await (const bytes of readResultLines(answered)) {
    const line = parseResultLine(bytes);
    if (!line) continue;
    const { id, result } = line;
    const message = messageOfResult(result);
    total.add({ nanodollars: 0, usage: createResponseReport(message, 0).usage });
    yield `${JSON.stringify({ type: 'result', id, ...readLabel(result, message, task) })}\n`;
  }
  yield `${JSON.stringify({ type: 'summary', usage: total.usage, cost_usd, model: task.model })}\n`;
}

function readLabel(result: Json, message: Json | undefined, task: LabelTask) {
  const choice = message && readChoice(message, task);
  if (choice && 'labels' in choice) {
    const answer = { ...electLabels({ ...task, votes: 1 }, [choice]), cached: false };
    return resultOf(task, { outcome: 'classified', result: answer });
  }
  return resultOf(task, { outcome: 'unclassified', error: choice ? answerFaultOf(choice) : resultFault(result) });
}

/** @returns why an item has no answer, in the upstream's words if it has any */
function resultFault({ type: outcome, error }: Json): LabelFault {
  const { type, message: reason } = isObject(error) && isObject(error.error) ? error.error : {};
  const { type: own, message: failed } = UNANSWERED.get(outcome) ?? sendAgain('The upstream has failed.');
  return { type: typeof type === 'string' ? type : own, message: typeof reason === 'string' ? reason : failed };
}

const sendAgain = (why: string): LabelFault => ({ type: 'api_error', message: `${why} Send this input again.` });

/** Why an item has no answer, by the type of its result. */
const UNANSWERED: ReadonlyMap<unknown, LabelFault> = new Map([
  ['canceled', sendAgain('It was canceled before a model had answered.')],
  ['expired', sendAgain('No model had answered within a day.')],
]);

function answerFaultOf({ fault, kind }: AnswerFault): LabelFault {
  if (kind === 'refused' || kind === 'too_long') return { type: 'invalid_request_error', message: `input: ${fault}.` };
  return {
    type: 'api_error',
    message: `The model gave no usable answer: ${fault}. Send this input to /classify, which asks once more.`,
  };
}
