import { encoder, sha256Hex } from '../../kit/http/bytes.ts';
import type { SubagentOutcome } from '../../talk/contracts/conversation.ts';
import { SUBAGENT_ID } from '../../talk/conversations/conversations.schema.ts';
import type { CallName } from '../runs/called-kind.ts';
import { failedCall, MOST_TEXT_BYTES, NO_CONTENT, type ToolResult } from '../runs/tool-result.ts';

/** @returns the id of a subagent's conversation, made from the name of its call. */
export async function subagentId({ conversation, turn, tool_use_id }: CallName): Promise<string> {
  const digest = await sha256Hex(encoder.encode(JSON.stringify([conversation, turn, tool_use_id])));
  return SUBAGENT_ID + digest.slice(0, 32);
}

/**
 * Makes the result of a call from the outcome of its subagent.
 *
 * @param outcome undefined if the subagent could not be reached
 * @param whyStopped a sentence if its run has stopped it; empty otherwise
 */
export function resultOfSubagent(outcome: SubagentOutcome | undefined, whyStopped: string): ToolResult {
  const fault = outcome ? whyUndone(outcome, whyStopped) : `The subagent could not be reached. ${whyStopped}`.trim();
  const { text = '' } = outcome ?? {};
  const said = text.trim() === '' ? '' : text;
  const content = fault === undefined ? said || NO_CONTENT : fault + (said && ` What it said:\n\n${said}`);
  const bytes = encoder.encode(content).length;
  if (bytes > MOST_TEXT_BYTES) return failedCall(`The subagent answered with more than ${MOST_TEXT_BYTES} bytes.`);
  return { content, isError: fault !== undefined, bytes };
}

/** @returns why a subagent has not done its task; undefined if it has */
function whyUndone(
  { status, paused, stop_reason: reason, error }: SubagentOutcome,
  whyStopped: string,
): string | undefined {
  if (status === 'running' || status === 'stopped') return `The subagent was stopped. ${whyStopped}`.trim();
  if (status === 'refused') return 'The subagent has refused the task.';
  if (status !== 'complete') return `The subagent has failed. ${error?.message ?? whyStopped}`.trim();
  if (paused === 'approval') {
    return 'The subagent waits until a person has approved one of its calls. It goes on then, and its answer stays in its own conversation.';
  }
  if (paused !== null) return `The subagent has paused (${paused}) before its end.`;
  if (reason === 'tool_use') return 'The subagent has asked for a tool that only a client could call.';
  if (reason === 'end_turn' || reason === 'stop_sequence') return undefined;
  return `The subagent’s answer was cut (${reason}).`;
}
