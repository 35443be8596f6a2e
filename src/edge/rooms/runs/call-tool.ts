/** Calls a tool of the edge: one that the Worker defines, an agent, or one at a host that the operator has allowed. */

import { IdleTimeout } from '../../kit/async/idle-timeout.ts';
import { orAborted } from '../../kit/async/or-aborted.ts';
import { ApiError } from '../../kit/http/errors.ts';
import { masked } from '../../kit/http/secrets.ts';
import { asText } from '../../kit/json/object.ts';
import { callMcp, type McpContext } from '../mcp/call-mcp.ts';
import { callAgent, type SubagentCall } from '../subagents/call-agent.ts';
import { type CallContext, callOwnTool } from './call-own-tool.ts';
import { type PostContext, postCall } from './post-call.ts';
import type { AgentRun, ToolRun } from './runs.schema.ts';
import { failedCall, MOST_TEXT_BYTES, type ToolCall, type ToolResult, tooMuchTogether } from './tool-result.ts';
import { faultOfAddress } from './tools/check-tools.ts';

export interface CallOptions extends Pick<CallContext, 'env'>, PostContext, McpContext {
  /** Milliseconds that are left of the run. The call ends by then. */
  leftMs: number;
  /** Aborted when the run is stopped. */
  signal: AbortSignal;
  /** Present only if the tool is an agent. */
  subagent?: SubagentCall | undefined;
}

const DEFAULT_SECONDS = 30;
/** The most characters of a result's text in JSON. Room is taken for its bytes, and a control character becomes six. */
const MOST_WRITTEN = 2 * MOST_TEXT_BYTES + 2;
const MOST_OF_AN_ESCAPE = 6;
const ESCAPED = 'The tool answered with too many control characters or quotes for so long a text.';
const NO_ROOM = 'The tool has answered, but the edge had no room for its answer. Call it again, if that does no harm.';

/**
 * Calls a tool once. It never throws.
 *
 * @returns its result; if the call failed, a result with `isError` that says how, so that the model can go on
 */
export async function callTool(call: ToolCall, run: ToolRun, options: CallOptions): Promise<ToolResult> {
  const result = await attemptCall(call, run, options);
  // Any tool may repeat what it was sent, and the model and clients read its result. The data of an image is no text.
  const { content } = result;
  const hidden =
    typeof content === 'string'
      ? masked(content)
      : content.map((block) => (block.type === 'text' ? { ...block, text: masked(asText(block.text)) } : block));
  if (isTooLongInJson(hidden)) return { ...result, ...failedCall(ESCAPED) };
  return { ...result, content: hidden };
}

function isTooLongInJson(content: ToolResult['content']): boolean {
  const text = typeof content === 'string' ? content : content.map(({ text = '' }) => asText(text)).join('');
  return text.length * MOST_OF_AN_ESCAPE > MOST_WRITTEN && JSON.stringify(text).length > MOST_WRITTEN;
}

async function attemptCall(call: ToolCall, run: ToolRun, options: CallOptions): Promise<ToolResult> {
  const { settings, leftMs, signal, subagent } = options;
  // `callAgent` watches the time itself, since it has to stop the subagent that it has begun.
  if ('agent' in run) {
    if (!subagent) throw new TypeError('A call of an agent without its share.');
    return await withinRoom(await callAgent(call, run, { ...options, ...subagent }), options);
  }
  const ms = Math.max(0, Math.min((run.timeout_seconds ?? DEFAULT_SECONDS) * 1_000, leftMs));
  const controller = new AbortController();
  const late = controller.signal;
  const clock = new IdleTimeout(controller, ms, ms, () => new Error('late'));
  // That the edge lets a tool's answer wait is not the tool's time.
  const hold = async (bytes: number) => {
    clock.pause();
    await options.hold(bytes);
    clock.touch();
  };
  try {
    const fault = 'worker' in run ? undefined : faultOfAddress(run, settings);
    if (fault !== undefined) return failedCall(`This tool cannot be called. ${fault}.`);
    const both = AbortSignal.any([signal, late]);
    both.throwIfAborted();
    return await orAborted(makeCall(call, run, { ...options, hold }, both), both);
  } catch (thrown) {
    if (signal.aborted) return failedCall('stopped');
    if (late.aborted) return failedCall(`The tool did not answer within ${Math.ceil(ms / 1_000)} s.`);
    if (thrown instanceof ApiError) return failedCall(NO_ROOM);
    // The message of a network error may contain the URL, and the URL may contain a secret.
    return failedCall('The tool could not be reached.');
  } finally {
    clock.stop();
  }
}

/** Makes a call in the way that its tool needs. @throws if the tool could not be reached */
async function makeCall(
  call: ToolCall,
  run: Exclude<ToolRun, AgentRun>,
  options: CallOptions,
  signal: AbortSignal,
): Promise<ToolResult> {
  if ('url' in run) return await postCall(call, run, options, signal);
  if ('mcp' in run) return await callMcp(call, run, options, signal);
  const result = await callOwnTool(call, { env: options.env, signal });
  // Nobody waits for the result any more, so it takes no room.
  signal.throwIfAborted();
  return await withinRoom(result, options);
}

/** Reserves room for a result. @returns the result, or an error with the same cost if there is no room */
async function withinRoom(result: ToolResult, { room, hold }: Pick<CallOptions, 'room' | 'hold'>): Promise<ToolResult> {
  if (result.bytes > room.left) return { ...result, ...tooMuchTogether() };
  room.left -= result.bytes;
  try {
    await hold(result.bytes);
    return result;
  } catch {
    // Whether no room came in time or the run was stopped: what a subagent has cost must not be lost with its answer.
    return { ...result, ...failedCall(NO_ROOM) };
  }
}
