/** Turns the API's events into the chunks of the AI SDK's UI message stream. */
import type { RawMessageStreamEvent } from '@anthropic-ai/sdk/resources/messages';
import type { FinishReason, UIMessage, UIMessageChunk } from 'ai';
import { parseJsonObject } from './errors.ts';
import { addDollars } from './message.ts';
import type { Approval } from './requests.ts';
import type { MessageStream } from './stream.ts';
import {
  collectToolCallIds,
  formatToolOutput,
  isToolPart,
  joinTextBlocks,
  type SluiceMetadata,
} from './ui-messages.ts';

type UiMessageChunk = UIMessageChunk<SluiceMetadata>;
/** A block or delta with any fields: the SDK's types do not have those of newer kinds. */
type StreamedBlock = Record<string, unknown> & { type: string };

const FINISH_REASONS: Readonly<Record<string, FinishReason>> = {
  end_turn: 'stop',
  // The AI SDK's own provider maps `pause_turn` to `stop`, too: the message is complete, and a further message continues it.
  pause_turn: 'stop',
  stop_sequence: 'stop',
  max_tokens: 'length',
  model_context_window_exceeded: 'length',
  tool_use: 'tool-calls',
  refusal: 'content-filter',
};

/** The options of an answer's chunks, beside its events. */
interface AnswerChunkOptions {
  /** The message that is continued; without it a new message begins. */
  continued?: UIMessage | undefined;
  /** Finds the displayed message that contains a call. The answer continues that message, but the hook has begun a new one. */
  shownWith?(toolCallId: string): Promise<UIMessage | undefined>;
  /** Reads the calls that wait for approval. */
  readWaitingApprovals(): Promise<readonly Approval[]>;
}

/**
 * Yields the chunks of one answer as they arrive. A run that continues after an approval repeats its calls in the stream. Each
 * is shown once.
 *
 * @throws SluiceError why the answer is incomplete, or why the calls that wait cannot be read
 */
export async function* streamToUiChunks(
  stream: MessageStream,
  { continued, shownWith, readWaitingApprovals: approvals }: AnswerChunkOptions,
): AsyncGenerator<UiMessageChunk, void, void> {
  const before = continued?.metadata as SluiceMetadata | undefined;
  const blocks = new BlockChunker(collectToolCallIds(continued));
  let messageId: string | undefined;
  for await (const event of stream) {
    if (event.type === 'message_start') messageId = event.message.id;
    // For a resumed answer, begin the message only with its first block, which shows whether the answer continues a displayed
    // message.
    if (event.type === 'message_start' && shownWith) continue;
    if (messageId !== undefined) {
      const block = (event.type === 'content_block_start' ? event.content_block : {}) as Partial<StreamedBlock>;
      const shown = block.type === 'mcp_tool_use' ? await shownWith?.(String(block.id)) : undefined;
      for (const id of collectToolCallIds(shown)) blocks.knownIds.add(id);
      const { turn } = stream;
      yield {
        type: 'start',
        // If this answer continues a message, send no id, so that the displayed message keeps its own.
        ...(continued ? {} : { messageId: shown?.id ?? messageId }),
        ...(turn === undefined ? {} : { messageMetadata: { turn } }),
      };
      yield* replayMessageAsChunks(shown);
      yield { type: 'start-step' };
      messageId = undefined;
    }
    if (event.type !== 'message_start') yield* blocks.convertEventToChunks(event);
  }
  const { stop_reason: stopReason = null, usage } = stream.message ?? {};
  const { costUsd, used, fits, stopped, paused, turn } = stream;
  if ((stopReason === null && !stopped) || !usage) return;
  for (const approval of paused === 'approval' ? await approvals() : []) {
    const { id, tool_use_id: toolCallId, name: toolName, input, input_text } = approval;
    if (!blocks.knownIds.has(toolCallId)) continue;
    // For this call only, a restricted token may read the input, because its user decides on the approval.
    const providerMetadata = { sluice: { input_text } };
    yield { type: 'tool-input-available', toolCallId, toolName, input, providerExecuted: true, providerMetadata };
    yield { type: 'tool-approval-request', toolCallId, approvalId: id };
  }
  yield { type: 'finish-step' };
  yield {
    type: 'finish',
    finishReason: FINISH_REASONS[stopReason ?? ''] ?? 'other',
    messageMetadata: {
      // Omit the turn if the answer was continued after a pause, because it then spans several turns.
      ...(turn === undefined ? {} : { turn }),
      stopReason,
      stopped,
      usage: { ...usage },
      // The AI SDK merges metadata into the earlier values, so set `paused` to null to end an earlier pause.
      ...(paused === undefined && !before?.paused ? {} : { paused: paused ?? null }),
      ...(costUsd === undefined ? {} : { costUsd: addDollars(before?.costUsd, costUsd) }),
      ...(used === undefined ? {} : { used }),
      ...(fits === undefined ? {} : { fits }),
    },
  };
}

function* replayMessageAsChunks(message: UIMessage | undefined): Generator<UiMessageChunk, void, void> {
  for (const [index, part] of (message?.parts ?? []).entries()) {
    const id = `again-${index}`;
    if (part.type === 'step-start') yield { type: 'start-step' };
    else if (part.type === 'text' || part.type === 'reasoning') {
      yield { type: `${part.type}-start`, id };
      yield { type: `${part.type}-delta`, id, delta: part.text };
      yield { type: `${part.type}-end`, id };
    } else if (isToolPart(part)) {
      const { toolCallId, providerExecuted = false } = part;
      const toolName = part.type.slice('tool-'.length);
      yield { type: 'tool-input-available', toolCallId, toolName, input: part.input, providerExecuted };
      if (part.state === 'output-available') yield { type: 'tool-output-available', toolCallId, output: part.output };
      if (part.state === 'output-error') yield { type: 'tool-output-error', toolCallId, errorText: part.errorText };
    }
  }
}

/** Turns the events of blocks into chunks, and keeps the open blocks by their index. */
class BlockChunker {
  /** The ids of the calls that are shown already. */
  readonly knownIds: Set<string>;
  readonly #openBlocks = new Map<number, { id: string; block: StreamedBlock; json: string; signature: string }>();
  #blockCount = 0;

  constructor(knownIds: Set<string>) {
    this.knownIds = knownIds;
  }

  *convertEventToChunks(event: RawMessageStreamEvent): Generator<UiMessageChunk, void, void> {
    switch (event.type) {
      case 'content_block_start':
        yield* this.#startBlock(event.index, event.content_block as unknown as StreamedBlock);
        break;
      case 'content_block_delta':
        yield* this.#applyBlockDelta(event.index, event.delta as unknown as StreamedBlock);
        break;
      case 'content_block_stop':
        yield* this.#stopBlock(event.index);
    }
  }

  *#startBlock(index: number, block: StreamedBlock): Generator<UiMessageChunk, void, void> {
    const toolCallId = String(block.id);
    const isCall = block.type.endsWith('tool_use');
    // If a call starts again after a lost connection, it is already displayed, so only read its input again.
    const isAgain = isCall && this.#openBlocks.get(index)?.id === toolCallId;
    if (!isAgain) yield* this.#stopBlock(index);
    this.#blockCount += 1;
    if (isCall && !isAgain && this.knownIds.has(toolCallId)) return;
    if (isCall) this.knownIds.add(toolCallId);
    const id = isCall ? toolCallId : String(this.#blockCount);
    this.#openBlocks.set(index, { id, block, json: '', signature: '' });
    if (isAgain) return;
    if (block.type === 'text') {
      yield { type: 'text-start', id };
      if (block.text) yield { type: 'text-delta', id, delta: String(block.text) };
    } else if (block.type === 'thinking') yield { type: 'reasoning-start', id };
    else if (isCall) {
      yield {
        type: 'tool-input-start',
        toolCallId,
        toolName: String(block.name),
        ...createProviderExecutedFlag(block),
      };
    } else if (block.tool_use_id !== undefined) yield toResultChunk(block);
  }

  *#applyBlockDelta(index: number, delta: StreamedBlock): Generator<UiMessageChunk, void, void> {
    const open = this.#openBlocks.get(index);
    if (!open) return;
    const { id } = open;
    if (delta.type === 'text_delta') yield { type: 'text-delta', id, delta: String(delta.text) };
    else if (delta.type === 'thinking_delta') yield { type: 'reasoning-delta', id, delta: String(delta.thinking) };
    else if (delta.type === 'signature_delta') open.signature = String(delta.signature);
    else if (delta.type === 'input_json_delta') {
      open.json += String(delta.partial_json);
      yield { type: 'tool-input-delta', toolCallId: id, inputTextDelta: String(delta.partial_json) };
    } else if (delta.type === 'citations_delta') {
      const { url, title } = delta.citation as { url?: string; title?: string | null };
      if (url === undefined) return;
      this.#blockCount += 1;
      yield { type: 'source-url', sourceId: `source-${this.#blockCount}`, url, ...(title ? { title } : {}) };
    }
  }

  *#stopBlock(index: number): Generator<UiMessageChunk, void, void> {
    const open = this.#openBlocks.get(index);
    if (!open) return;
    this.#openBlocks.delete(index);
    const { id, block, json, signature } = open;
    if (block.type === 'text') yield { type: 'text-end', id };
    else if (block.type === 'thinking') {
      yield { type: 'reasoning-end', id, providerMetadata: { anthropic: { signature } } };
    } else if (block.type.endsWith('tool_use')) {
      const call = { toolCallId: id, toolName: String(block.name), ...createProviderExecutedFlag(block) };
      const input = json === '' ? block.input : parseJsonObject<object>(json);
      if (input !== undefined) yield { type: 'tool-input-available', ...call, input };
      // The input is not valid JSON because the answer reached `max_tokens` within it.
      else yield { type: 'tool-input-error', ...call, input: json, errorText: 'The input of this call is not whole.' };
    }
  }
}

/** Marks the calls that the API runs itself, so that no tool here runs for them. */
function createProviderExecutedFlag({ type }: StreamedBlock): { providerExecuted?: true } {
  return type === 'tool_use' ? {} : { providerExecuted: true };
}

function toResultChunk(block: StreamedBlock): UiMessageChunk {
  const toolCallId = String(block.tool_use_id);
  const { error_code: code } = (block.content ?? {}) as { error_code?: string };
  const settled = { toolCallId, providerExecuted: true };
  if (code !== undefined) return { type: 'tool-output-error', ...settled, errorText: code };
  const output = joinTextBlocks(block.content);
  if (block.is_error === true) return { type: 'tool-output-error', ...settled, errorText: formatToolOutput(output) };
  return { type: 'tool-output-available', ...settled, output };
}
