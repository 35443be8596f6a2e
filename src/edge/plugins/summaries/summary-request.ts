/** Builds the request for a summary. */

import { computeMinTokensForText, TEXT_TOKENS } from '../../claude/pricing/minimal-thinking.ts';
import type { Settings } from '../../config/settings.ts';
import { buildTurnBody, planRun } from '../../conversations/history/next-request.ts';
import { buildSentHistory } from '../../conversations/history/prompt-history.ts';
import { type RequestOptions, resolveRequest } from '../../conversations/history/resolved-request.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import { findTurnsWithoutThinking } from '../../conversations/history/thinking.ts';
import { runAtOnce } from '../../kit/async/run-in-steps.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { editJson } from '../../kit/json/edit.ts';
import { isObject, type JsonObject } from '../../kit/json/object.ts';
import type { SummaryPlan } from './summarize.ts';

/** The instructions of a summary, where the setting has none. */
const INSTRUCTIONS =
  'Summarize this conversation: your summary will stand in the place of everything above. Keep every fact, name, number, ' +
  'decision, promise and open question that may matter later, and what the user wants. Answer with the summary alone.';

/** Members of a request that a summary must not have: it is plain text, and made of all that is sent. */
const NOT_IN_SUMMARY = {
  context_management: undefined,
  fallbacks: undefined,
  thread: undefined,
  stop_sequences: undefined,
  output_format: undefined,
  tool_choice: undefined,
};

/**
 * Builds the request for a summary: it has the model, system, tools and thinking of a turn, so that its prompt is read from the
 * cache. It contains only the oldest messages, and asks for their summary.
 *
 * @param rest the turn's body without messages
 * @throws ApiError 413 if its messages are too large to be sent
 */
export function createSummaryRequest(
  rest: string,
  { base, until, most, instructions }: SummaryPlan,
  { transcript, settings, ...options }: { transcript: Transcript; settings: Settings } & RequestOptions,
): { body: JsonBody; model: string } {
  const asked = resolveRequest(editJson(rest, { messages: '[]' }), transcript, settings, options);
  const { models, MAX_BODY_BYTES: limit } = settings;
  const model = models.resolveAlias(asked.modelName);
  const { output_config } = asked.json;
  const changes: Record<string, string | undefined> = { ...NOT_IN_SUMMARY };
  if (isObject(output_config)) changes.output_config = JSON.stringify({ ...output_config, format: undefined });
  // Add tokens for thinking, because it counts towards `max_tokens`.
  const maxTokens = most + computeMinTokensForText(models.findRow(model), asked.json) - TEXT_TOKENS;
  const plain = { ...asked, text: editJson(asked.text, changes), maxTokens };
  const listUnboundTurns = () => findTurnsWithoutThinking(transcript, { from: base, model, follows: false }, models);
  const { history } = runAtOnce(
    buildSentHistory(transcript, listUnboundTurns, { sentFrom: base, limit, readMessages: undefined, to: until }),
  );
  const run = planRun(
    asked.members,
    asked.json,
    { tools: asked.inherited.tools, runs: asked.frozen?.runs },
    options.isRunEvenWithoutTools === true,
  );
  const message = { role: 'user', content: instructions ?? INSTRUCTIONS };
  const messages = [{ message, text: JSON.stringify(message) }];
  const createSummaryBody = (text: string) =>
    buildTurnBody({ ...plain, text }, { messages, model }, history, run, options).body;
  const body = createSummaryBody(plain.text);
  // Forbid server tools, because the API would call them and bill the calls. Changing `tool_choice` invalidates a part of the
  // prompt cache, which costs less than such a call.
  return {
    body: hasServerTools(body.ownJson)
      ? createSummaryBody(editJson(plain.text, { tool_choice: '{"type":"none"}' }))
      : body,
    model,
  };
}

/** @returns whether the API may call server tools while it answers a request */
function hasServerTools({ tools, mcp_servers: servers }: JsonObject): boolean {
  const isServerTool = ({ type }: JsonObject) => type !== undefined && type !== 'custom';
  return (
    (Array.isArray(servers) && servers.length > 0) ||
    (Array.isArray(tools) && tools.filter(isObject).some(isServerTool))
  );
}
