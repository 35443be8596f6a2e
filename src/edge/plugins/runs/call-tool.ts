/** Calls a tool of the edge in the way of its kind. */

import { IdleTimeout } from '../../kit/async/idle-timeout.ts';
import { raceAbort } from '../../kit/async/race-abort.ts';
import { ApiError } from '../../kit/http/errors.ts';
import { maskSecrets } from '../../kit/http/secrets.ts';
import { toText } from '../../kit/json/object.ts';
import type { ToolRun } from '../../registry/tools/tool-kind.ts';
import type { CallOptions, KindCalls } from './tool-kind.ts';
import { failedResult, MOST_TEXT_BYTES, NO_ROOM, type ToolCall, type ToolResult } from './tool-result.ts';

const DEFAULT_SECONDS = 30;
/** The most characters of a result's text in JSON. Memory is reserved for its bytes, and a control character becomes six. */
const MOST_WRITTEN = 2 * MOST_TEXT_BYTES + 2;
const MOST_OF_AN_ESCAPE = 6;
const ESCAPED = 'The tool answered with too many control characters or quotes for so long a text.';

/**
 * Calls a tool once. It never throws.
 *
 * @returns its result; if the call failed, a result with `isError` that says how, so that the model can go on
 */
export async function callTool(
  call: ToolCall,
  run: ToolRun,
  options: CallOptions,
  calls: KindCalls,
): Promise<ToolResult> {
  const result = await attemptCall(call, run, options, calls);
  // Any tool may repeat what it was sent, and the model and clients read its result. The data of an image is no text.
  const { content } = result;
  const hidden =
    typeof content === 'string'
      ? maskSecrets(content)
      : content.map((block) => (block.type === 'text' ? { ...block, text: maskSecrets(toText(block.text)) } : block));
  if (isTooLongInJson(hidden)) return { ...result, ...failedResult(ESCAPED) };
  return { ...result, content: hidden };
}

function isTooLongInJson(content: ToolResult['content']): boolean {
  const text = typeof content === 'string' ? content : content.map(({ text = '' }) => toText(text)).join('');
  return text.length * MOST_OF_AN_ESCAPE > MOST_WRITTEN && JSON.stringify(text).length > MOST_WRITTEN;
}

async function attemptCall(call: ToolCall, run: ToolRun, options: CallOptions, calls: KindCalls): Promise<ToolResult> {
  const { leftMs, signal } = options;
  // It watches the time itself, since it has to stop what it has begun.
  if (options.apart) return await calls.call(call, run, options, signal);
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
    const both = AbortSignal.any([signal, late]);
    both.throwIfAborted();
    return await raceAbort(calls.call(call, run, { ...options, hold }, both), both);
  } catch (thrown) {
    if (signal.aborted) return failedResult('stopped');
    if (late.aborted) return failedResult(`The tool did not answer within ${Math.ceil(ms / 1_000)} s.`);
    if (thrown instanceof ApiError) return failedResult(NO_ROOM);
    // The message of a network error may contain the URL, and the URL may contain a secret.
    return failedResult('The tool could not be reached.');
  } finally {
    clock.stop();
  }
}
