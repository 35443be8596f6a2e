import { isBetaRequested } from '../../api-rules/betas.ts';
import { filterObjects, isJsonObject, type JsonObject } from '../../api-rules/json.ts';
import { createCompactionRejectedError, hasCompactionContent } from './compaction-blocks.ts';
import { createInvalidRequestError } from './errors.ts';
import { readOptionalString, readRequiredObject, readRequiredType } from './fields.ts';
import type { CompactionRequest, RequestMessage, RequestProtocol } from './message-request.ts';

/** The longest summarization prompt, in UTF-16 units. The simulator assumes this limit; no public source states it. */
const MAX_INSTRUCTIONS_CHARACTERS = 16_384;

/** Parameters that shape a reply. A compaction request has none, so the API refuses them there. */
function findReplyShapingParameter(body: JsonObject): string | undefined {
  const { stop_sequences: stops, output_config: config, tool_choice: choice } = body;
  if (Array.isArray(stops) && stops.length > 0) return 'stop_sequences';
  if (isJsonObject(config) && isJsonObject(config.format)) return 'output_config.format';
  if (isJsonObject(body.output_format)) return 'output_format';
  if (isJsonObject(choice) && (choice.type === 'any' || choice.type === 'tool')) return `tool_choice.${choice.type}`;
  return undefined;
}

function hasTaskBudgetRemaining({ output_config: config }: JsonObject): boolean {
  const budget = isJsonObject(config) ? config.task_budget : undefined;
  return isJsonObject(budget) && typeof budget.remaining === 'number';
}

/**
 * Reads whether a body of `/v1/messages` requests a summary, and by which prompt. (`count_tokens` ignores the parameter.)
 *
 * @returns undefined for a body that requests a reply
 * @throws ApiError 400 for an unknown type, for fields that are not supported with it, and for an empty list of messages
 */
export function parseCompactionRequest(
  body: JsonObject,
  protocol: RequestProtocol,
): Pick<CompactionRequest, 'instructions'> | undefined {
  if (body.compaction === undefined || body.compaction === null) return undefined;
  const config = readRequiredObject(body.compaction, 'compaction');
  if (!isBetaRequested(protocol, 'compact-2026-09-04'))
    throw createInvalidRequestError('compaction: Extra inputs are not permitted');
  readRequiredType(config, ['summarize'], 'compaction');
  const instructions = readOptionalString(config.instructions, 'compaction.summarize.instructions') ?? '';
  if (instructions.length > MAX_INSTRUCTIONS_CHARACTERS) {
    throw createInvalidRequestError(
      `compaction.summarize.instructions: String should have at most ${MAX_INSTRUCTIONS_CHARACTERS} characters, not ${instructions.length}`,
    );
  }
  const refused = isJsonObject(body.context_management) ? 'context_management' : findReplyShapingParameter(body);
  if (refused !== undefined) {
    throw createInvalidRequestError(
      `compaction: cannot be combined with \`${refused}\`. Leave it out of the compaction request.`,
    );
  }
  if (Array.isArray(body.messages) && body.messages.length === 0) throw createNothingToSummarizeError();
  return { instructions: instructions.trim() === '' ? undefined : instructions };
}

function createNothingToSummarizeError() {
  return createCompactionRejectedError(
    'nothing_to_summarize',
    'messages: there is no `user` or `assistant` content to summarize. Send at least one message.',
  );
}

/**
 * Checks what does not go with a signed summary, asked for or sent back.
 * @throws ApiError 400 in the API's words.
 */
export function rejectSummaryConflicts(body: JsonObject, compacts: boolean, hasSummary: boolean): void {
  const edits = filterObjects(isJsonObject(body.context_management) ? body.context_management.edits : undefined);
  if (hasSummary && edits.some(({ type }) => type === 'compact_20260112')) {
    throw createInvalidRequestError(
      'context_management: `compact_20260112` cannot run on a request with a signed `compaction` block',
    );
  }
  if (!(compacts || hasSummary) || !hasTaskBudgetRemaining(body)) return;
  throw createInvalidRequestError(
    'output_config.task_budget.remaining: not permitted with `compaction` or a signed `compaction` block',
  );
}

/**
 * Checks that a conversation can be summarized: it is not empty, and its last turn has ended.
 * @throws ApiError 400 with the code of the rule that is broken.
 */
export function requireSummarizable(messages: readonly RequestMessage[]): void {
  const texts = messages.filter(
    ({ role, blocks }) =>
      role !== 'system' && blocks.some((block) => block.type !== 'compaction' || hasCompactionContent(block)),
  );
  const last = texts.at(-1);
  if (last === undefined) throw createNothingToSummarizeError();
  if (last.role !== 'assistant') return;
  const from = texts.findLastIndex(({ role }) => role !== 'assistant') + 1;
  const open = new Set<unknown>();
  for (const block of texts.slice(from).flatMap(({ blocks }) => blocks)) {
    if (String(block.type).endsWith('tool_use')) open.add(block.id);
    else open.delete(block.tool_use_id);
  }
  if (open.size === 0) return;
  throw createCompactionRejectedError(
    'incomplete_turn',
    `messages: the last \`assistant\` turn is not finished: no result for ${[...open].join(', ')}. Send the results first.`,
  );
}
