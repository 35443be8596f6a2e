/** Calls a tool of the edge in the way of its kind. */

import { IdleTimeout } from '../../kit/async/idle-timeout.ts';
import { raceAbort } from '../../kit/async/race-abort.ts';
import { ApiError } from '../../kit/http/errors.ts';
import { maskSecrets } from '../../kit/http/secrets.ts';
import { toJsonText } from '../../kit/json/object.ts';
import type { ToolRunConfig } from '../../registry/tools/tool-kind.ts';
import type { ToolCallOptions, ToolKindCaller } from './tool-kind.ts';
import { createFailedResult, MOST_TEXT_BYTES, NO_ROOM, type ToolCall, type ToolResult } from './tool-result.ts';

const DEFAULT_SECONDS = 30;
/** The most characters of a result's text in JSON. Memory is reserved for its bytes, and a control character becomes six. */
const MOST_WRITTEN = 2 * MOST_TEXT_BYTES + 2;
const MOST_OF_AN_ESCAPE = 6;
const ESCAPED = 'The tool’s response contains too many control characters or quotes for its length.';

/**
 * Calls a tool once. It never throws.
 *
 * @returns its result; if the call failed, a result with `isError` that explains the failure, so that the model can continue
 */
export async function callTool(
  call: ToolCall,
  run: ToolRunConfig,
  options: ToolCallOptions,
  calls: ToolKindCaller,
): Promise<ToolResult> {
  const result = await callToolWithTimeout(call, run, options, calls);
  // Mask secrets: a tool may repeat a secret that was sent to it, and the model and clients read the result. Images are
  // skipped, because a secret in image data cannot be found.
  const { content } = result;
  const hidden =
    typeof content === 'string'
      ? maskSecrets(content)
      : content.map((block) =>
          block.type === 'text' ? { ...block, text: maskSecrets(toJsonText(block.text)) } : block,
        );
  if (isResultTooLongAsJson(hidden)) return { ...result, ...createFailedResult(ESCAPED) };
  return { ...result, content: hidden };
}

function isResultTooLongAsJson(content: ToolResult['content']): boolean {
  const text = typeof content === 'string' ? content : content.map(({ text = '' }) => toJsonText(text)).join('');
  return text.length * MOST_OF_AN_ESCAPE > MOST_WRITTEN && JSON.stringify(text).length > MOST_WRITTEN;
}

async function callToolWithTimeout(
  call: ToolCall,
  run: ToolRunConfig,
  options: ToolCallOptions,
  calls: ToolKindCaller,
): Promise<ToolResult> {
  const { leftMs, signal } = options;
  // A subagent's call enforces its own timeout, because it has to stop the subagent when the time has passed.
  if (options.apart) return await calls.callTool(call, run, options, signal);
  const ms = Math.max(0, Math.min((run.timeout_seconds ?? DEFAULT_SECONDS) * 1_000, leftMs));
  const controller = new AbortController();
  const late = controller.signal;
  const clock = new IdleTimeout(controller, ms, ms, () => new Error('late'));
  // Pause the timeout while the call waits for the isolate's memory, which is not the tool's fault.
  const holdResultMemory = async (bytes: number) => {
    clock.pauseUntilTouched();
    await options.hold(bytes);
    clock.restartIdleTime();
  };
  try {
    const both = AbortSignal.any([signal, late]);
    both.throwIfAborted();
    return await raceAbort(calls.callTool(call, run, { ...options, hold: holdResultMemory }, both), both);
  } catch (thrown) {
    if (signal.aborted) return createFailedResult('stopped');
    if (late.aborted) return createFailedResult(`The tool did not respond within ${Math.ceil(ms / 1_000)} s.`);
    if (thrown instanceof ApiError) return createFailedResult(NO_ROOM);
    // Do not forward the error of a network failure: it may contain the URL, and the URL may contain a secret.
    return createFailedResult('The tool could not be reached.');
  } finally {
    clock.stopWatching();
  }
}
