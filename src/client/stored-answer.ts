/** Completes an answer from the conversation's history, where its events are no longer kept. */
import type { Message, RawMessageStreamEvent } from '@anthropic-ai/sdk/resources/messages';
import type { ConversationMessage, Page } from './requests.ts';
import { encodePathSegment, type Transport } from './transport.ts';

type ReceivedBlock = Record<string, unknown> & { type: string };

/** The part of an answer that has been received. */
export interface ReceivedAnswer {
  message: Message | undefined;
  /** The index of the block that has begun and not ended. */
  openBlock: number | undefined;
}

const ROWS_PER_PAGE = 1_000;
/** The fields that grow while a block streams, and the deltas that they grow by. */
const GROWING_FIELDS = [
  ['text', 'text_delta'],
  ['thinking', 'thinking_delta'],
  ['signature', 'signature_delta'],
] as const;

/**
 * Reads the stored answer of a turn.
 *
 * @returns undefined if the turn still runs, or nothing of it was stored
 * @throws SluiceError as `Transport.send`
 */
export async function readStoredAnswer(
  transport: Transport,
  conversation: string,
  turn: string,
  signal: AbortSignal,
): Promise<ConversationMessage | undefined> {
  let answer: ConversationMessage | undefined;
  let after_id: string | undefined;
  for (;;) {
    const query = { view: 'shown', if_absent: 'empty', limit: ROWS_PER_PAGE, after_id };
    const page = await transport.requestJsonWithTimeout<Page<ConversationMessage>>(
      `/conversations/${encodePathSegment(conversation)}/messages`,
      { query, signal },
    );
    answer = page.data.findLast((row) => row.turn === turn && row.role === 'assistant') ?? answer;
    if (!page.has_more || page.last_id === null) return answer;
    after_id = page.last_id;
  }
}

/** Yields the events that a client lacks of a stored answer: those that end it, and all of them if it has none. */
export function* createMissingEvents(
  row: ConversationMessage,
  { message, openBlock }: ReceivedAnswer,
): Generator<RawMessageStreamEvent, void, void> {
  if (!message) yield createMessageStart(row);
  const content = (
    typeof row.content === 'string' ? [{ type: 'text', text: row.content }] : row.content
  ) as ReceivedBlock[];
  for (const [index, block] of content.entries()) {
    const known = message?.content[index] as ReceivedBlock | undefined;
    if (known && index !== openBlock) continue;
    const deltas = known && findMissingDeltas(block, known);
    // A block that cannot be continued starts again with a new `content_block_start`, which replaces its received part.
    // The SDK's type does not have blocks of newer kinds, which are streamed like all others.
    if (!deltas)
      yield {
        type: 'content_block_start',
        index,
        content_block: createStartBlock(block),
      } as unknown as RawMessageStreamEvent;
    for (const delta of deltas ?? findMissingDeltas(block, createStartBlock(block)) ?? [])
      yield { type: 'content_block_delta', index, delta } as RawMessageStreamEvent;
    yield { type: 'content_block_stop', index };
  }
  if (openBlock !== undefined && openBlock >= content.length) yield { type: 'content_block_stop', index: openBlock };
  yield {
    type: 'message_delta',
    delta: { stop_reason: row.stop_reason ?? null, stop_sequence: null },
    usage: row.usage ?? { output_tokens: 0 },
  } as RawMessageStreamEvent;
  yield { type: 'message_stop' };
}

function createMessageStart({ id, model, usage }: ConversationMessage): RawMessageStreamEvent {
  const message = {
    id,
    type: 'message',
    role: 'assistant',
    model,
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: usage ?? { input_tokens: 0, output_tokens: 0 },
  };
  // The SDK's type requires the usage fields of its version; a stored message has those that the API sent.
  return { type: 'message_start', message } as unknown as RawMessageStreamEvent;
}

/** @returns the deltas from one state of a block to another; undefined if it has not only grown */
function findMissingDeltas(block: ReceivedBlock, knownBlock: ReceivedBlock): object[] | undefined {
  if (block.type !== knownBlock.type || (block.type !== 'text' && block.type !== 'thinking')) return undefined;
  const deltas: object[] = [];
  for (const [field, type] of GROWING_FIELDS) {
    const [stored, has = ''] = [block[field], knownBlock[field]];
    if (typeof stored !== 'string' || stored === has) continue;
    if (typeof has !== 'string' || !stored.startsWith(has)) return undefined;
    deltas.push({ type, [field]: stored.slice(has.length) });
  }
  for (const citation of getCitations(block).slice(getCitations(knownBlock).length))
    deltas.push({ type: 'citations_delta', citation });
  return deltas;
}

/** @returns a block as its first event has it */
function createStartBlock(block: ReceivedBlock): ReceivedBlock {
  if (block.type !== 'text' && block.type !== 'thinking') return block;
  const growing = GROWING_FIELDS.filter(([field]) => typeof block[field] === 'string').map(([field]) => [field, '']);
  const { citations: _, ...begun } = block;
  return { ...begun, type: block.type, ...Object.fromEntries(growing) };
}

function getCitations({ citations }: ReceivedBlock): unknown[] {
  return Array.isArray(citations) ? citations : [];
}
