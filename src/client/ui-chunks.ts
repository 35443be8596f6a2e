/** Turns the API's events into the chunks of the AI SDK's UI message stream. */
import type { RawMessageStreamEvent } from '@anthropic-ai/sdk/resources/messages';
import type { FinishReason, UIMessageChunk } from 'ai';
import { parse } from './errors.ts';
import type { MessageStream } from './stream.ts';
import { plainText, plainTextOf, type SluiceMetadata, sumOf } from './ui-messages.ts';

type Chunk = UIMessageChunk<SluiceMetadata>;
type StreamedBlock = Record<string, unknown> & { type: string };

const FINISH: Readonly<Record<string, FinishReason>> = {
  end_turn: 'stop',
  // As the AI SDK's own provider has it: the message is whole, and the next one goes on.
  pause_turn: 'stop',
  stop_sequence: 'stop',
  max_tokens: 'length',
  model_context_window_exceeded: 'length',
  tool_use: 'tool-calls',
  refusal: 'content-filter',
};

/**
 * Yields the chunks of one answer as they come.
 *
 * @param before the metadata so far of a message that is continued; without it a new message begins
 * @throws SluiceError why the answer is incomplete
 */
export async function* chunksOf(stream: MessageStream, before?: SluiceMetadata): AsyncGenerator<Chunk, void, void> {
  const blocks = new Blocks();
  for await (const event of stream) {
    if (event.type === 'message_start') {
      const { turn } = stream;
      yield {
        type: 'start',
        // A continued message keeps its id.
        ...(before ? {} : { messageId: event.message.id }),
        ...(turn === undefined ? {} : { messageMetadata: { turn } }),
      };
      yield { type: 'start-step' };
    } else yield* blocks.take(event);
  }
  const { stop_reason: stopReason = null, usage } = stream.message ?? {};
  if (stopReason === null || !usage) return;
  yield { type: 'finish-step' };
  const { costUsd, stopped, paused } = stream;
  yield {
    type: 'finish',
    finishReason: FINISH[stopReason] ?? 'other',
    messageMetadata: {
      stopReason,
      stopped,
      usage: { ...usage },
      ...(paused === undefined ? {} : { paused }),
      ...(costUsd === undefined ? {} : { costUsd: sumOf(before?.costUsd, costUsd) }),
    },
  };
}

/** Turns the events of blocks into chunks, and keeps the open blocks by their index. */
class Blocks {
  readonly #open = new Map<number, { id: string; block: StreamedBlock; json: string; signature: string }>();
  #blocks = 0;

  *take(event: RawMessageStreamEvent): Generator<Chunk, void, void> {
    switch (event.type) {
      case 'content_block_start':
        yield* this.#start(event.index, event.content_block as unknown as StreamedBlock);
        break;
      case 'content_block_delta':
        yield* this.#grow(event.index, event.delta as unknown as StreamedBlock);
        break;
      case 'content_block_stop':
        yield* this.#stop(event.index);
    }
  }

  *#start(index: number, block: StreamedBlock): Generator<Chunk, void, void> {
    const toolCallId = String(block.id);
    this.#blocks += 1;
    const id = block.type.endsWith('tool_use') ? toolCallId : String(this.#blocks);
    this.#open.set(index, { id, block, json: '', signature: '' });
    if (block.type === 'text') {
      yield { type: 'text-start', id };
      if (block.text) yield { type: 'text-delta', id, delta: String(block.text) };
    } else if (block.type === 'thinking') yield { type: 'reasoning-start', id };
    else if (block.type.endsWith('tool_use')) {
      yield { type: 'tool-input-start', toolCallId, toolName: String(block.name), ...executed(block) };
    } else if (block.tool_use_id !== undefined) yield resultChunks(block);
  }

  *#grow(index: number, delta: StreamedBlock): Generator<Chunk, void, void> {
    const open = this.#open.get(index);
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
      this.#blocks += 1;
      yield { type: 'source-url', sourceId: `source-${this.#blocks}`, url, ...(title ? { title } : {}) };
    }
  }

  *#stop(index: number): Generator<Chunk, void, void> {
    const open = this.#open.get(index);
    if (!open) return;
    const { id, block, json, signature } = open;
    if (block.type === 'text') yield { type: 'text-end', id };
    else if (block.type === 'thinking') {
      yield { type: 'reasoning-end', id, providerMetadata: { anthropic: { signature } } };
    } else if (block.type.endsWith('tool_use')) {
      const call = { toolCallId: id, toolName: String(block.name), ...executed(block) };
      const input = json === '' ? block.input : parse<object>(json);
      if (input !== undefined) yield { type: 'tool-input-available', ...call, input };
      // The input is incomplete: the answer reached its `max_tokens`.
      else yield { type: 'tool-input-error', ...call, input: json, errorText: 'The input of this call is not whole.' };
    }
  }
}

/** Marks the calls that the API runs itself, so that no tool here runs for them. */
function executed({ type }: StreamedBlock): { providerExecuted?: true } {
  return type === 'tool_use' ? {} : { providerExecuted: true };
}

function resultChunks(block: StreamedBlock): Chunk {
  const toolCallId = String(block.tool_use_id);
  const { error_code: code } = (block.content ?? {}) as { error_code?: string };
  const settled = { toolCallId, providerExecuted: true };
  if (code !== undefined) return { type: 'tool-output-error', ...settled, errorText: code };
  const output = plainText(block.content);
  if (block.is_error === true) return { type: 'tool-output-error', ...settled, errorText: plainTextOf(output) };
  return { type: 'tool-output-available', ...settled, output };
}
