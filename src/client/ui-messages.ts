/** Converts between the messages of the AI SDK's hooks and those of the Messages API. */
import type { ContentBlockParam, ToolResultBlockParam } from '@anthropic-ai/sdk/resources/messages';
import type { DynamicToolUIPart, FileUIPart, ToolUIPart, UIMessage } from 'ai';
import { SluiceError } from './errors.ts';
import { addDollars } from './message.ts';
import type { Approval, ConversationMessage } from './requests.ts';

/** The metadata of an answer. */
export interface SluiceMetadata {
  /** The id of its last turn. */
  turn?: string;
  stopReason?: string | null;
  /** Why its run is paused: at `approval` a person must decide, otherwise the next message continues the run. */
  paused?: string | null;
  /** The tokens of its last turn, as the API reports them; for a run, those of all its steps. */
  usage?: ConversationMessage['usage'];
  /** The cost of all its turns, in US dollars. */
  costUsd?: number;
  /** The share of the budget that was used at its end, of 1; absent if nothing limits it. */
  used?: number;
  /** Whether the budget would then have paid for the same question once more. */
  fits?: boolean;
  /** Whether its last turn was stopped. */
  stopped?: boolean;
}

type ToolPart = ToolUIPart | DynamicToolUIPart;
type StoredBlock = Record<string, unknown> & { type: string };

/**
 * Writes the content of a conversation's next message: the results of the tools that the last answer has called, then the
 * last message.
 */
export function buildNextMessageContent(messages: readonly UIMessage[]): ContentBlockParam[] {
  const last = messages.at(-1);
  if (!last) throw new SluiceError('invalid_request_error', 'There is no message to send.');
  const answer = messages.findLast(({ role }) => role === 'assistant');
  const results = answer === undefined ? [] : toToolResults(answer);
  return last.role === 'assistant' ? results : [...results, ...last.parts.flatMap(convertPartToContentBlocks)];
}

/** @returns results for the calls of an answer's last step; those of earlier steps have been sent already */
function toToolResults({ parts, metadata }: UIMessage): ToolResultBlockParam[] {
  // Send results only for a complete answer: the edge does not store the calls of an incomplete one.
  if ((metadata as SluiceMetadata | undefined)?.stopReason !== 'tool_use') return [];
  const step = parts.slice(parts.findLastIndex(({ type }) => type === 'step-start') + 1);
  return step.filter(isToolPart).flatMap((part) => {
    if (part.providerExecuted) return [];
    const result: ToolResultBlockParam = { type: 'tool_result', tool_use_id: part.toolCallId };
    if (part.state === 'output-available') return { ...result, content: formatToolOutput(part.output) };
    const reason = part.state === 'output-error' ? part.errorText : 'This tool was not run.';
    return { ...result, content: reason, is_error: true };
  });
}

/** @returns whether a part is a call of a tool */
export function isToolPart(part: { type: string }): part is ToolPart {
  return part.type === 'dynamic-tool' || part.type.startsWith('tool-');
}

/** @returns the ids of all calls of a message */
export function collectToolCallIds(message: UIMessage | undefined): Set<string> {
  return new Set(message?.parts.filter(isToolPart).map(({ toolCallId }) => toolCallId));
}

/** Marks the calls of the last message that wait for approval. */
export function markCallsAwaitingApproval(messages: readonly UIMessage[], approvals: readonly Approval[]): void {
  const waiting = new Map(approvals.map((approval) => [approval.tool_use_id, approval]));
  for (const part of messages.at(-1)?.parts ?? []) {
    const approval = isToolPart(part) ? waiting.get(part.toolCallId) : undefined;
    if (!approval) continue;
    const { id, input, input_text } = approval;
    const callProviderMetadata = { sluice: { input_text } };
    Object.assign(part, { state: 'approval-requested', input, approval: { id }, callProviderMetadata });
  }
}

/** @returns what a tool gave as one text */
export function formatToolOutput(output: unknown): string {
  return typeof output === 'string' ? output : (JSON.stringify(output) ?? '');
}

function convertPartToContentBlocks(part: UIMessage['parts'][number]): ContentBlockParam[] {
  if (part.type === 'text') return part.text === '' ? [] : [{ type: 'text', text: part.text }];
  return part.type === 'file' ? [toFileBlock(part)] : [];
}

function toFileBlock({ mediaType, url, filename }: FileUIPart): ContentBlockParam {
  const [, type = mediaType, base64, data = ''] = /^data:([^;,]*)[^,]*?(;base64)?,(.*)$/s.exec(url) ?? [];
  const title = filename === undefined ? {} : { title: filename };
  const inline = url.startsWith('data:');
  const source = inline ? { type: 'base64', media_type: type, data } : { type: 'url', url };
  if (type.startsWith('image/') || mediaType === 'image') return { type: 'image', source } as ContentBlockParam;
  if (type === 'application/pdf') return { type: 'document', source, ...title } as ContentBlockParam;
  if (type.startsWith('text/') && inline) {
    const text = base64 ? new TextDecoder().decode(decodeBase64Bytes(data)) : decodeURIComponent(data);
    return { type: 'document', source: { type: 'text', media_type: 'text/plain', data: text }, ...title };
  }
  throw new SluiceError(
    'invalid_request_error',
    `A file of the type ${type} cannot be sent: images, PDFs and text can.`,
  );
}

function decodeBase64Bytes(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/**
 * Turns a conversation's history into the `messages` of `useChat`. There, an answer and the results of its tools are one
 * message.
 *
 * @example
 * const { data } = await sluice.conversations.messages('trip');
 * show(toUIMessages(data));
 */
export function toUIMessages(rows: readonly ConversationMessage[]): UIMessage<SluiceMetadata>[] {
  const messages: UIMessage<SluiceMetadata>[] = [];
  for (const { id, role, content, cost_usd, status, stop_reason, turn, paused, usage } of rows) {
    const blocks: StoredBlock[] = typeof content === 'string' ? [{ type: 'text', text: content }] : content;
    const last = messages.at(-1);
    if (role !== 'assistant') {
      for (const block of blocks) if (block.type === 'tool_result') applyToolResult(messages, block);
      const parts = blocks.flatMap(toUserParts);
      if (parts.length > 0 || blocks.length === 0) messages.push({ id, role, parts });
      continue;
    }
    const answer = last?.role === 'assistant' ? last : { id, role, parts: [] };
    if (answer !== last) messages.push(answer);
    answer.parts.push({ type: 'step-start' }, ...blocks.flatMap(toAnswerParts));
    const calls = blocks.some(({ type }) => type === 'tool_use') && status === 'complete';
    answer.metadata = {
      stopReason: calls ? 'tool_use' : (stop_reason ?? (status === 'complete' ? 'end_turn' : null)),
      turn,
      ...(paused ? { paused } : {}),
      usage,
      costUsd: addDollars(answer.metadata?.costUsd, cost_usd ?? 0),
      stopped: status === 'stopped',
    };
    for (const block of blocks) if (block.tool_use_id !== undefined) applyToolResult(messages, block);
  }
  return messages;
}

function toUserParts(block: StoredBlock): UIMessage['parts'] {
  if (block.type === 'text') return [{ type: 'text', text: String(block.text) }];
  if (block.type !== 'image' && block.type !== 'document') return [];
  const { type, media_type, data, url } = block.source as Record<string, string | undefined>;
  if (type === 'text')
    return [{ type: 'file', mediaType: 'text/plain', url: `data:text/plain,${encodeURIComponent(data ?? '')}` }];
  const mediaType = media_type ?? (block.type === 'image' ? 'image' : 'application/pdf');
  return [{ type: 'file', mediaType, url: url ?? `data:${mediaType};base64,${data ?? ''}` }];
}

function toAnswerParts(block: StoredBlock): UIMessage['parts'] {
  if (block.type === 'text') return [{ type: 'text', text: String(block.text), state: 'done' }];
  if (block.type === 'thinking') return [{ type: 'reasoning', text: String(block.thinking), state: 'done' }];
  if (!block.type.endsWith('tool_use')) return [];
  return [
    {
      type: `tool-${String(block.name)}`,
      toolCallId: String(block.id),
      state: 'input-available',
      input: block.input,
      ...(block.type === 'tool_use' ? {} : { providerExecuted: true }),
    },
  ];
}

function applyToolResult(messages: readonly UIMessage[], { tool_use_id, content, is_error }: StoredBlock): void {
  for (const { parts } of messages) {
    for (const part of parts) {
      if (!isToolPart(part) || part.toolCallId !== tool_use_id) continue;
      const text = joinTextBlocks(content);
      Object.assign(
        part,
        is_error === true
          ? { state: 'output-error', errorText: formatToolOutput(text) }
          : { state: 'output-available', output: text ?? '' },
      );
    }
  }
}

/** @returns content with only text blocks as one string, as the tool returned it; other content unchanged */
export function joinTextBlocks(content: unknown): unknown {
  if (!Array.isArray(content)) return content;
  return content.every(({ type }) => type === 'text') ? content.map(({ text }) => String(text)).join('') : content;
}
