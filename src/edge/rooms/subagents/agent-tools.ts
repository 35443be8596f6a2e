/** Describes a tool that is an agent to the model, if the tool has no description itself. */

import { edit } from '../../kit/json/edit.ts';

const DESCRIPTION =
  'Gives a task to another agent, which works on it by itself, and answers with what it has come to. It knows nothing but the task.';
const INPUT = {
  type: 'object',
  properties: { task: { type: 'string', description: 'What is to be done, with all that has to be known for it.' } },
  required: ['task'],
};

/**
 * Fills in the description and schema of a tool that is an agent.
 *
 * @param text the tool as JSON text
 */
export function filledAgentTool(text: string): string {
  return edit(text, {
    description: { ifAbsent: JSON.stringify(DESCRIPTION) },
    input_schema: { ifAbsent: JSON.stringify(INPUT) },
  });
}
