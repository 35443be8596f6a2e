/** What the model is told of a tool that is an agent, where the tool itself does not say it. */

import { edit } from '../json/edit.ts';
import { isObject } from '../json/object.ts';

const DESCRIPTION =
  'Gives a task to another agent, which works on it by itself, and answers with what it has come to. It knows nothing but the task.';
const INPUT = {
  type: 'object',
  properties: { task: { type: 'string', description: 'What is to be done, with all that has to be known for it.' } },
  required: ['task'],
};

/** @returns whether a member `run` names an agent. */
export function isAgentRun(run: unknown): boolean {
  return isObject(run) && Object.hasOwn(run, 'agent');
}

/**
 * Fills in what the model is told of a tool that is an agent.
 *
 * @param text the tool as JSON text
 * @param description what the agent says of itself
 */
export function filledAgentTool(text: string, description = DESCRIPTION): string {
  const told = {
    description: { ifAbsent: JSON.stringify(description) },
    input_schema: { ifAbsent: JSON.stringify(INPUT) },
  };
  return edit(text, told);
}
