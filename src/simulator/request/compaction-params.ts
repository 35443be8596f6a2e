import { hasBeta } from './betas.ts';
import { createCompactionRejection, hasContent } from './compaction-blocks.ts';
import { invalidRequestError } from './errors.ts';
import { readOptionalString, readRequiredObject, readRequiredTag } from './fields.ts';
import { isObject, type JsonObject, objectItemsOf } from './json.ts';
import type { Compaction, Protocol, RequestMessage } from './message-request.ts';

/** The longest summarization prompt, in UTF-16 units. */
const MAX_INSTRUCTIONS_CHARACTERS = 16_384;

/** Parameters that shape a reply. A compaction request has none, so the API refuses them there. */
function findReplyParameter(body: JsonObject): string | undefined {
  const { stop_sequences: stops, output_config: config, tool_choice: choice } = body;
  if (Array.isArray(stops) && stops.length > 0) return 'stop_sequences';
  if (isObject(config) && isObject(config.format)) return 'output_config.format';
  if (isObject(body.output_format)) return 'output_format';
  if (isObject(choice) && (choice.type === 'any' || choice.type === 'tool')) return `tool_choice.${choice.type}`;
  return undefined;
}

function hasRemainingBudget({ output_config: config }: JsonObject): boolean {
  const budget = isObject(config) ? config.task_budget : undefined;
  return isObject(budget) && typeof budget.remaining === 'number';
}

/**
 * Reads whether a body of `/v1/messages` asks for a summary, and by which prompt. (`count_tokens` ignores the parameter.)
 *
 * @returns undefined for a body that asks for a reply
 * @throws ApiError 400 for an unknown type, for what does not go with it, and for messages that are an empty list
 */
export function readCompaction(body: JsonObject, protocol: Protocol): Pick<Compaction, 'instructions'> | undefined {
  if (body.compaction === undefined || body.compaction === null) return undefined;
  const config = readRequiredObject(body.compaction, 'compaction');
  if (!hasBeta(protocol, 'compact-2026-09-04')) throw invalidRequestError('compaction: Extra inputs are not permitted');
  readRequiredTag(config, ['summarize'], 'compaction');
  const instructions = readOptionalString(config.instructions, 'compaction.summarize.instructions') ?? '';
  if (instructions.length > MAX_INSTRUCTIONS_CHARACTERS) {
    throw invalidRequestError(
      `compaction.summarize.instructions: String should have at most ${MAX_INSTRUCTIONS_CHARACTERS} characters, not ${instructions.length}`,
    );
  }
  const refused = isObject(body.context_management) ? 'context_management' : findReplyParameter(body);
  if (refused !== undefined) {
    throw invalidRequestError(
      `compaction: cannot be combined with \`${refused}\`. Leave it out of the compaction request.`,
    );
  }
  if (Array.isArray(body.messages) && body.messages.length === 0) throw nothingToSummarizeError();
  return { instructions: instructions.trim() === '' ? undefined : instructions };
}

function nothingToSummarizeError() {
  return createCompactionRejection(
    'nothing_to_summarize',
    'messages: there is no `user` or `assistant` content to summarize. Send at least one message.',
  );
}

/**
 * Checks what does not go with a signed summary, asked for or sent back.
 * @throws ApiError 400 in the API's words.
 */
export function checkSummaryConflicts(body: JsonObject, compacts: boolean, hasSummary: boolean): void {
  const edits = objectItemsOf(isObject(body.context_management) ? body.context_management.edits : undefined);
  if (hasSummary && edits.some(({ type }) => type === 'compact_20260112')) {
    throw invalidRequestError(
      'context_management: `compact_20260112` cannot run on a request with a signed `compaction` block',
    );
  }
  if (!(compacts || hasSummary) || !hasRemainingBudget(body)) return;
  throw invalidRequestError(
    'output_config.task_budget.remaining: not permitted with `compaction` or a signed `compaction` block',
  );
}

/**
 * Checks that a conversation can be summarized: it says something, and its last turn has ended.
 * @throws ApiError 400 with the code of the rule that is broken.
 */
export function checkSummarizable(messages: readonly RequestMessage[]): void {
  const texts = messages.filter(
    ({ role, blocks }) => role !== 'system' && blocks.some((block) => block.type !== 'compaction' || hasContent(block)),
  );
  const last = texts.at(-1);
  if (last === undefined) throw nothingToSummarizeError();
  if (last.role !== 'assistant') return;
  const from = texts.findLastIndex(({ role }) => role !== 'assistant') + 1;
  const open = new Set<unknown>();
  for (const block of texts.slice(from).flatMap(({ blocks }) => blocks)) {
    if (String(block.type).endsWith('tool_use')) open.add(block.id);
    else open.delete(block.tool_use_id);
  }
  if (open.size === 0) return;
  throw createCompactionRejection(
    'incomplete_turn',
    `messages: the last \`assistant\` turn is not finished: no result for ${[...open].join(', ')}. Send the results first.`,
  );
}
