import type { Digest } from '../random/digest.ts';
import { isRedactedData, isSignedThinking } from '../random/signatures.ts';
import { checkRoleOfBlock } from './content-blocks.ts';
import { invalid } from './errors.ts';
import { asText, type JsonObject, member } from './json.ts';
import type { Protocol, RequestMessage, Thinking } from './message-request.ts';

/** A block and its place in the request. */
interface PlacedBlock {
  block: JsonObject;
  message: number;
  path: string;
}

/** Consecutive messages of one role, which the API takes for one. */
interface Turn {
  role: RequestMessage['role'];
  blocks: PlacedBlock[];
}

function isThinking({ type }: JsonObject): boolean {
  return type === 'thinking' || type === 'redacted_thinking';
}

function idOf(block: JsonObject, name: 'id' | 'tool_use_id'): string {
  return asText(member(block, name));
}

/** Groups messages into turns. A system message neither makes a turn nor divides one. */
function turnsOf(messages: readonly RequestMessage[]): Turn[] {
  const turns: Turn[] = [];
  for (const [message, { role, blocks }] of messages.entries()) {
    if (role === 'system') continue;
    const placed = blocks.map((block, index) => ({ block, message, path: `messages.${message}.content.${index}` }));
    const last = turns.at(-1);
    if (last?.role === role) last.blocks.push(...placed);
    else turns.push({ role, blocks: placed });
  }
  return turns;
}

function checkEmptiness(messages: readonly RequestMessage[]): void {
  const first = messages[0];
  // A compaction block stands for all messages before it.
  if (first?.role === 'assistant' && first.blocks[0]?.type !== 'compaction')
    throw invalid('messages: first message must use the "user" role');
  for (const [index, { role, blocks, configures }] of messages.entries()) {
    if (blocks.length > 0 || configures || (role === 'assistant' && index === messages.length - 1)) continue;
    throw invalid(
      `messages.${index}: all messages must have non-empty content except for the optional final assistant message`,
    );
  }
}

function checkEndings(messages: readonly RequestMessage[]): void {
  for (const [index, { role, blocks }] of messages.entries()) {
    const last = blocks.at(-1);
    if (role === 'assistant' && last !== undefined && isThinking(last)) {
      throw invalid(`messages.${index}: The final block in an assistant message cannot be \`thinking\`.`);
    }
  }
  const final = messages.at(-1);
  const last = final?.blocks.at(-1);
  const text = last?.text;
  if (final?.role === 'assistant' && typeof text === 'string' && text !== text.trimEnd()) {
    throw invalid('messages: final assistant content cannot end with trailing whitespace');
  }
}

function checkToolResults(turn: Turn, previous: Turn | undefined): void {
  const asked = new Set(
    previous?.blocks.filter(({ block }) => block.type === 'tool_use').map(({ block }) => idOf(block, 'id')),
  );
  const answered = new Set<string>();
  for (const { block, path } of turn.blocks) {
    if (block.type !== 'tool_result') continue;
    const id = idOf(block, 'tool_use_id');
    if (!asked.has(id)) {
      throw invalid(
        `${path}: unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${id}. Each \`tool_result\` block must have a corresponding \`tool_use\` block in the previous message.`,
      );
    }
    if (answered.has(id)) {
      throw invalid(
        `${path}: each tool_use must have a single result. Found multiple \`tool_result\` blocks with id: ${id}`,
      );
    }
    answered.add(id);
  }
}

function checkToolUses(turn: Turn, next: Turn | undefined, seen: Set<string>): void {
  const answered = new Set(
    next?.blocks.filter(({ block }) => block.type === 'tool_result').map(({ block }) => idOf(block, 'tool_use_id')),
  );
  const missing: string[] = [];
  let message = 0;
  for (const placed of turn.blocks) {
    if (placed.block.type !== 'tool_use') continue;
    const id = idOf(placed.block, 'id');
    if (seen.has(id)) throw invalid('messages: `tool_use` ids must be unique');
    seen.add(id);
    message = placed.message;
    if (!answered.has(id)) missing.push(id);
  }
  if (missing.length > 0) {
    throw invalid(
      `messages.${message}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${missing.join(', ')}. Each \`tool_use\` block must have a corresponding \`tool_result\` block in the next message.`,
    );
  }
}

/** Checks that each call of a server tool has its result in the same turn. Only the last turn, which may be paused, can lack it. */
function checkServerTools(turn: Turn, isLast: boolean): void {
  const open = new Map<string, string>();
  for (const { block, path } of turn.blocks) {
    const type = asText(block.type);
    if (type === 'server_tool_use') open.set(idOf(block, 'id'), asText(block.name));
    // An MCP server's result answers an mcp_tool_use, a block of a beta.
    if (!type.endsWith('_tool_result') || type === 'mcp_tool_result') continue;
    const id = idOf(block, 'tool_use_id');
    if (!open.delete(id)) {
      throw invalid(
        `${path}: unexpected \`tool_use_id\` found in \`${type}\` blocks: ${id}. Each \`${type}\` block must have a corresponding \`server_tool_use\` block before it.`,
      );
    }
  }
  const [unanswered] = open;
  if (unanswered === undefined || isLast) return;
  const [id, name] = unanswered;
  throw invalid(
    `\`${name}\` tool use with id \`${id}\` was found without a corresponding \`${name}_tool_result\` block`,
  );
}

function checkSeals(turn: Turn, seed: Digest): void {
  for (const { block, path } of turn.blocks) {
    const { type } = block;
    const thinking = asText(block.thinking);
    if (type === 'thinking' && !isSignedThinking(thinking, asText(block.signature), seed)) {
      throw invalid(`${path}: Invalid \`signature\` in \`thinking\` block`);
    }
    if (type === 'redacted_thinking' && !isRedactedData(asText(block.data), seed)) {
      throw invalid(`${path}: Invalid \`data\` in \`redacted_thinking\` block`);
    }
  }
}

/** Checks that within a tool loop the last assistant turn still has the thinking that it began with. */
function checkThinkingLoop(turns: readonly Turn[]): void {
  const last = turns.at(-1);
  const inLoop = last?.role === 'user' && last.blocks.some(({ block }) => block.type === 'tool_result');
  const first = (inLoop ? turns.at(-2) : undefined)?.blocks[0];
  if (first === undefined || isThinking(first.block)) return;
  throw invalid(
    `${first.path}.type: Expected \`thinking\` or \`redacted_thinking\`, but found \`${first.block.type}\`. When \`thinking\` is enabled, a final \`assistant\` message must start with a thinking block (preceeding the lastmost set of \`tool_use\` and \`tool_result\` blocks). We recommend you include thinking blocks from previous turns. To avoid this requirement, disable \`thinking\`. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking`,
  );
}

/**
 * Checks what messages demand of each other: roles, tool calls and their results, thinking that comes back unaltered.
 * @throws ApiError 400 in the API's words.
 */
export function checkConversation(
  messages: readonly RequestMessage[],
  thinking: Thinking,
  protocol: Protocol,
  seed: Digest,
): void {
  checkEmptiness(messages);
  for (const [index, { role, blocks }] of messages.entries()) {
    for (const [place, block] of blocks.entries()) {
      checkRoleOfBlock(block, role, `messages.${index}.content.${place}`, protocol);
    }
  }
  checkEndings(messages);
  const turns = turnsOf(messages);
  const seen = new Set<string>();
  for (const [index, turn] of turns.entries()) {
    if (turn.role === 'user') checkToolResults(turn, turns[index - 1]);
    else {
      checkToolUses(turn, turns[index + 1], seen);
      checkServerTools(turn, index === turns.length - 1);
      checkSeals(turn, seed);
    }
  }
  if (thinking.type === 'enabled') checkThinkingLoop(turns);
}
