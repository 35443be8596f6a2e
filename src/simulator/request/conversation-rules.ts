import { isBetaRequested } from '../../api-rules/betas.ts';
import { filterObjects, type JsonObject, jsonToText, readOwnMember } from '../../api-rules/json.ts';
import { computeDigest, type Digest, digestToHex, parseHexDigest } from '../random/digest.ts';
import {
  findThinkingBindingMismatch,
  listReadableModelDigests,
  type ThinkingBinding,
  verifyThinkingSignature,
} from '../random/signatures.ts';
import { findLeadingSummary, isBlockOutsideTurns, verifyLeadingSignedSummary } from './compaction-blocks.ts';
import { getBlockText, validateBlockRole } from './content-blocks.ts';
import { createInvalidRequestError } from './errors.ts';
import type {
  RequestMessage,
  RequestValidationContext,
  ThinkingConfig,
  ThinkingTransformation,
  ValidatedPrompt,
} from './message-request.ts';

/** A block and where it stands in the request. */
interface BlockWithPath {
  block: JsonObject;
  message: number;
  path: string;
}

/** Consecutive messages of one role, which the API takes for one. */
interface SameRoleMessages {
  role: RequestMessage['role'];
  blocks: BlockWithPath[];
}

export function isThinkingBlock({ type }: JsonObject): boolean {
  return type === 'thinking' || type === 'redacted_thinking';
}

function getBlockId(block: JsonObject, name: 'id' | 'tool_use_id'): string {
  return jsonToText(readOwnMember(block, name));
}

/**
 * Groups messages into turns. A system message neither makes a turn nor divides one, nor does one that has only a signed
 * summary: the conversation continues after it as after the messages that it replaces.
 */
function groupIntoTurns(messages: readonly RequestMessage[]): SameRoleMessages[] {
  const turns: SameRoleMessages[] = [];
  for (const [message, { role, blocks }] of messages.entries()) {
    if (role === 'system') continue;
    const located = blocks
      .map((block, index) => ({ block, message, path: `messages.${message}.content.${index}` }))
      .filter(({ block }) => !isBlockOutsideTurns(block));
    if (located.length === 0 && blocks.length > 0) continue;
    const last = turns.at(-1);
    if (last?.role === role) last.blocks.push(...located);
    else turns.push({ role, blocks: located });
  }
  return turns;
}

function requireNonEmptyMessages(messages: readonly RequestMessage[]): void {
  const first = messages[0];
  // A leading compaction block replaces the messages before it, so the first message may be the assistant's:
  // https://platform.claude.com/docs/en/build-with-claude/compaction
  if (first?.role === 'assistant' && findLeadingSummary(messages) === undefined)
    throw createInvalidRequestError('messages: first message must use the "user" role');
  for (const [index, { role, blocks, effort }] of messages.entries()) {
    if (blocks.length > 0 || effort !== undefined || (role === 'assistant' && index === messages.length - 1)) continue;
    throw createInvalidRequestError(
      `messages.${index}: all messages must have non-empty content except for the optional final assistant message`,
    );
  }
}

function validateMessageEndings(messages: readonly RequestMessage[]): void {
  for (const [index, { role, blocks }] of messages.entries()) {
    const last = blocks.at(-1);
    if (role === 'assistant' && last !== undefined && isThinkingBlock(last)) {
      throw createInvalidRequestError(
        `messages.${index}: The final block in an assistant message cannot be \`thinking\`.`,
      );
    }
  }
  const final = messages.at(-1);
  const last = final?.blocks.at(-1);
  const text = last?.text;
  if (final?.role === 'assistant' && typeof text === 'string' && text !== text.trimEnd()) {
    throw createInvalidRequestError('messages: final assistant content cannot end with trailing whitespace');
  }
}

function validateToolResults(turn: SameRoleMessages, previous: SameRoleMessages | undefined): void {
  const called = new Set(
    previous?.blocks.filter(({ block }) => block.type === 'tool_use').map(({ block }) => getBlockId(block, 'id')),
  );
  const answered = new Set<string>();
  for (const { block, path } of turn.blocks) {
    if (block.type !== 'tool_result') continue;
    const id = getBlockId(block, 'tool_use_id');
    if (!called.has(id)) {
      throw createInvalidRequestError(
        `${path}: unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${id}. Each \`tool_result\` block must have a corresponding \`tool_use\` block in the previous message.`,
      );
    }
    if (answered.has(id)) {
      throw createInvalidRequestError(
        `${path}: each tool_use must have a single result. Found multiple \`tool_result\` blocks with id: ${id}`,
      );
    }
    answered.add(id);
  }
}

function validateToolUses(turn: SameRoleMessages, next: SameRoleMessages | undefined, seen: Set<string>): void {
  const isResult = ({ block }: BlockWithPath) => block.type === 'tool_result';
  // Tool results count only at the start of the next user message. The API rejects those that follow other content:
  // https://platform.claude.com/docs/en/agents-and-tools/tool-use/handle-tool-calls
  const end = next?.blocks.findIndex((located) => !isResult(located)) ?? -1;
  const leading = next?.blocks.slice(0, end < 0 ? undefined : end) ?? [];
  const answered = new Set(leading.map(({ block }) => getBlockId(block, 'tool_use_id')));
  const missing: string[] = [];
  let message = 0;
  for (const located of turn.blocks) {
    if (located.block.type !== 'tool_use') continue;
    const id = getBlockId(located.block, 'id');
    if (seen.has(id)) throw createInvalidRequestError('messages: `tool_use` ids must be unique');
    seen.add(id);
    message = located.message;
    if (!answered.has(id)) missing.push(id);
  }
  if (missing.length > 0) {
    throw createInvalidRequestError(
      `messages.${message}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${missing.join(', ')}. Each \`tool_use\` block must have a corresponding \`tool_result\` block in the next message.`,
    );
  }
}

/** Checks that the tools which results name are among the tools. Those of MCP servers, and of messages, are not known. */
function validateToolReferences({ tools, messages }: ValidatedPrompt): void {
  const blocks = messages.flatMap((message) => message.blocks);
  const isKnown = (name: string) => tools.some((tool) => tool.name === name);
  if (tools.some(({ type }) => type === 'mcp_toolset') || blocks.some(({ type }) => type === 'tool_addition')) return;
  const results = blocks.filter(({ type }) => type === 'tool_result');
  for (const { type, tool_name } of results.flatMap(({ content }) => filterObjects(content))) {
    const name = jsonToText(tool_name);
    if (type === 'tool_reference' && !isKnown(name)) {
      throw createInvalidRequestError(`Tool reference '${name.slice(0, 128)}' has no corresponding tool definition`);
    }
  }
}

/** Checks that each call of a server tool has its result in the same turn. Only the last turn, which may be paused, can lack it. */
function validateServerToolResults(turn: SameRoleMessages, isLast: boolean): void {
  const open = new Map<string, string>();
  for (const { block, path } of turn.blocks) {
    const type = jsonToText(block.type);
    if (type === 'server_tool_use') open.set(getBlockId(block, 'id'), jsonToText(block.name));
    // Skip the results of MCP tools: they belong to a block of type `mcp_tool_use`, not to a `server_tool_use`.
    if (!type.endsWith('_tool_result') || type === 'mcp_tool_result') continue;
    const id = getBlockId(block, 'tool_use_id');
    if (!open.delete(id)) {
      throw createInvalidRequestError(
        `${path}: unexpected \`tool_use_id\` found in \`${type}\` blocks: ${id}. Each \`${type}\` block must have a corresponding \`server_tool_use\` block before it.`,
      );
    }
  }
  const [unanswered] = open;
  if (unanswered === undefined || isLast) return;
  const [id, name] = unanswered;
  throw createInvalidRequestError(
    `\`${name}\` tool use with id \`${id}\` was found without a corresponding \`${name}_tool_result\` block`,
  );
}

/** The context with which returned thinking is compared. */
interface ThinkingCheckOptions {
  current: Parameters<typeof findThinkingBindingMismatch>[1];
  /**
   * How to handle thinking of another conversation; undefined leaves it in place and reports it, `unchecked` does not report
   * it.
   */
  onMismatch: 'error' | 'drop_block' | 'unchecked' | undefined;
  seed: Digest;
  /** Whether the request can say what becomes of it. */
  hasBindingControls: boolean;
  /** The first message of a tool loop that continues, if there is one. */
  toolLoopStart: number | undefined;
}

/** Checks that thinking comes back unaltered and where it was made, block after block. */
class ReturnedThinkingValidator {
  readonly mismatches = new Map<JsonObject, ThinkingTransformation>();
  /** The mark of the last block that the model sees. */
  previous: string | undefined;
  readonly #check: ThinkingCheckOptions;
  #seenInLoop = 0;

  constructor(check: ThinkingCheckOptions) {
    this.#check = check;
  }

  /** @param prefixes the digests of the conversation before it */
  validateThinkingBlock({ block, path, message }: BlockWithPath, prefixes: readonly string[]): void {
    const { current: here, onMismatch, seed, hasBindingControls: tells, toolLoopStart: loop } = this.#check;
    const seal = verifyThinkingSignature(block, seed);
    const isLatest = loop !== undefined && message >= loop;
    if (isLatest && (seal === undefined || (seal.place ?? this.#seenInLoop) !== this.#seenInLoop)) {
      throw createInvalidRequestError(
        `${path}: \`thinking\` or \`redacted_thinking\` blocks in the latest assistant message cannot be modified. These blocks must remain as they were in the original response.`,
      );
    }
    if (isLatest) this.#seenInLoop++;
    const invalidSeal = `${path}: Invalid \`${block.type === 'thinking' ? 'signature' : 'data'}\` in \`${block.type}\` block`;
    if (seal === undefined) throw createInvalidRequestError(invalidSeal);
    const mismatch = findThinkingBindingMismatch(seal, here, prefixes, this.previous);
    const isKept = mismatch === 'prefix' && (onMismatch === undefined || onMismatch === 'unchecked');
    if (mismatch === 'prefix' && onMismatch === 'error') {
      const needs = tells ? '' : ' This needs anthropic-beta: thinking-binding-controls-2026-08-01.';
      throw createInvalidRequestError(
        `${invalidSeal}. The block is bound to a different conversation. Remove the block, or set \`thinking.block_binding.prefix_mismatch_behavior\` to "drop_block".${needs}`,
      );
    }
    if (mismatch === undefined || isKept) this.previous = seal.mark;
    if (mismatch === undefined || (isKept && onMismatch === 'unchecked')) return;
    const type = isKept ? 'thinking_mismatch_allowed' : 'thinking_dropped';
    this.mismatches.set(block, { type, path, reason: `${mismatch}_binding_mismatch` });
  }
}

/**
 * Continues the digest of a conversation by a turn: by its role, its texts and the ids of its calls. White space and thinking
 * do not count, because clients change these: the API has always let them leave out earlier thinking.
 */
function extendConversationDigest({ role, blocks }: SameRoleMessages, before: Digest): Digest {
  const texts = blocks.map(({ block }) =>
    isThinkingBlock(block) ? '' : jsonToText(readOwnMember(block, 'id') ?? '') + getBlockText(block),
  );
  return computeDigest(`${role}:${texts.join('').replace(/\s+/g, '')}`, before);
}

/**
 * Checks whether thinking was lost within a tool loop. Clients drop it when they assume that the model has changed: Claude Code
 * does so for each alias, because the response names a dated model. The API then does not think in this request, without an
 * error.
 */
function hasLostThinking(turns: readonly SameRoleMessages[]): boolean {
  const last = turns.at(-1);
  const inLoop = last?.role === 'user' && last.blocks.some(({ block }) => block.type === 'tool_result');
  const first = (inLoop ? turns.at(-2) : undefined)?.blocks[0];
  return first !== undefined && !isThinkingBlock(first.block);
}

/** The context in which a conversation is validated, beside its prompt. */
interface ConversationValidationContext extends RequestValidationContext {
  user: string;
  /** Whether a summary of it was asked for, so that thinking may follow it even if it has none itself. */
  compacts?: boolean | undefined;
}

/** A valid conversation: how the answer thinks, what that is bound to, and the blocks that were made elsewhere. */
interface ValidatedConversation {
  thinking: ThinkingConfig;
  binding: ThinkingBinding;
  mismatches: ReadonlyMap<JsonObject, ThinkingTransformation>;
  /** The digests of the whole conversation: thinking that is made right behind it is bound to one of them. */
  prefixes: string[];
}

/** How many compactions thinking may outlive. More would make signatures long, and requests slow to check. */
const MAX_PREFIXES = 16;

/**
 * Finds the digests that a conversation starts from. Behind a signed summary the first is its own: what is thought there is
 * bound to it. The others are those of the conversations that it stands for, so that thinking which follows them stays valid.
 */
function computeStartDigests({ messages, tools, system }: ValidatedPrompt, seed: Digest): Digest[] {
  const summary = verifyLeadingSignedSummary(messages, seed);
  const bare = [tools, system].map((list) => list.map(({ cache_control: _, ...rest }) => rest));
  const start = computeDigest(JSON.stringify(bare));
  if (summary === undefined) return [start];
  return [computeDigest(`compaction:${summary.signature}`, start), ...summary.prefixes.map(parseHexDigest)];
}

/** @returns the first message of the last turn: of what a user said, and all calls and results behind it */
export function findLastTurnStart(messages: readonly RequestMessage[]): number {
  const hasToolResult = ({ blocks }: RequestMessage) => blocks.some(({ type }) => type === 'tool_result');
  return Math.max(
    0,
    messages.findLastIndex((message) => message.role === 'user' && !hasToolResult(message)),
  );
}

/** @returns the first message of the tool loop that the last message continues */
function findToolLoopStart(messages: readonly RequestMessage[]): number | undefined {
  const isLoop = messages.at(-1)?.blocks.some(({ type }) => type === 'tool_result');
  // With a leading summary, it is unknown where the turn began: the summary may cover a part of it.
  return isLoop && findLeadingSummary(messages) === undefined ? findLastTurnStart(messages) : undefined;
}

/**
 * Checks what messages demand of each other: roles, tool calls and their results, thinking that comes back unaltered.
 * @throws ApiError 400 in the API's words.
 */
export function validateConversation(
  prompt: ValidatedPrompt & { thinking: ThinkingConfig },
  { protocol, seed, user, account, newAccounts, inBatch = false, compacts = false }: ConversationValidationContext,
): ValidatedConversation {
  const { messages, model, thinking } = prompt;
  let before = computeStartDigests(prompt, seed);
  requireNonEmptyMessages(messages);
  for (const [index, { role, blocks }] of messages.entries()) {
    for (const [at, block] of blocks.entries()) {
      validateBlockRole(block, role, `messages.${index}.content.${at}`, protocol);
    }
  }
  validateMessageEndings(messages);
  validateToolReferences(prompt);
  const turns = groupIntoTurns(messages);
  const seen = new Set<string>();
  const isOn = thinking.type !== 'disabled';
  const isThoughtful = compacts || isOn || turns.some(({ blocks }) => blocks.some((one) => isThinkingBlock(one.block)));
  // Whether the API binds thinking to the conversation depends on the model and on the account's age:
  // https://platform.claude.com/docs/build-with-claude/preserved-thinking
  const { checks_thinking: checks = true } = model;
  const isBound = checks === true || (checks === 'new_accounts' && newAccounts);
  const inherent = isBound ? (inBatch ? 'drop_block' : 'error') : undefined;
  const chosen = isOn ? (thinking.onMismatch ?? inherent) : undefined;
  const own = model.binds_account ? account : '';
  const thought = new ReturnedThinkingValidator({
    current: { user, account, readable: listReadableModelDigests(model) },
    onMismatch: checks === false ? 'unchecked' : chosen,
    seed,
    hasBindingControls: isBetaRequested(protocol, 'thinking-binding-controls'),
    toolLoopStart: isOn ? findToolLoopStart(messages) : undefined,
  });
  let prefix: string | undefined;
  for (const [index, turn] of turns.entries()) {
    if (turn.role === 'user') validateToolResults(turn, turns[index - 1]);
    else {
      validateToolUses(turn, turns[index + 1], seen);
      validateServerToolResults(turn, index === turns.length - 1);
      const here = before.map(digestToHex);
      for (const located of turn.blocks)
        if (isThinkingBlock(located.block)) thought.validateThinkingBlock(located, here);
      // The new answer continues the last assistant turn, so its thinking is bound to the same prefix.
      if (index === turns.length - 1) [prefix] = here;
    }
    if (isThoughtful) before = before.map((one) => extendConversationDigest(turn, one));
  }
  const prefixes = before.map(digestToHex);
  const place = messages
    .slice(findLastTurnStart(messages))
    .flatMap(({ blocks }) => blocks.filter(isThinkingBlock)).length;
  const bound = { model: model.id, user, account: own, previous: thought.previous ?? '', place };
  const isOff = thinking.type === 'enabled' && hasLostThinking(turns);
  return {
    thinking: isOff ? { type: 'disabled' } : thinking,
    binding: { prefix: prefix ?? prefixes[0] ?? '', ...bound },
    mismatches: thought.mismatches,
    // A model that does not check thinking needs no prefixes, so a summary of it records none.
    prefixes: isBound ? prefixes.slice(0, MAX_PREFIXES) : [],
  };
}
