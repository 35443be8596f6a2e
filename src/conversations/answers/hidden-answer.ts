/** Answers a bound token that does not see its tools: each event and message is the same but for its hidden blocks. */

import type { TurnAnswer } from '../../durable/contracts/conversation.ts';
import { encoder } from '../../http/bytes.ts';
import { isObject, type Json, parseObject } from '../../json/object.ts';
import { FrameReader } from '../../sse/frames.ts';
import { hiddenBlock, isHiddenBlock } from '../history/hidden-blocks.ts';
import type { TurnLog } from '../turn/event-log.ts';

/** A comment, and the events that have no part of a block. */
const PASSED = /^(:|message_|content_block_stop|ping)/;
/** What is told of an error in an answer: the upstream may quote what it was sent. */
const QUIET = 'This answer was not given, or not to its end. Ask again.';

/** Hides tools in the events of one turn, however its bytes are split. */
class HidingReader extends FrameReader {
  /** The numbers of hidden blocks. */
  readonly #hidden = new Set<unknown>();

  /** @returns the events that these bytes end, as they are shown. */
  read(bytes: Uint8Array): string {
    let shown = '';
    this.scan(bytes, (text, start, end) => {
      shown += this.#shown(text.slice(start, end + 2));
      return end + 2;
    });
    return shown;
  }

  readText(text: string): string {
    return this.read(encoder.encode(text));
  }

  /** Hides tools in what is still to come. Behind the last event it has the turn's summary. */
  through(body: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
    return body.pipeThrough(
      new TransformStream<Uint8Array, Uint8Array>({
        transform: (piece, to) => {
          const shown = this.read(piece);
          if (shown) to.enqueue(encoder.encode(shown));
        },
        flush: (to) => to.enqueue(encoder.encode(this.rest)),
      }),
    );
  }

  #shown(event: string): string {
    const at = event.indexOf('data: ') + 6;
    const data = parseObject(event.slice(at)) ?? { type: event };
    const { type, index, delta, content_block: block, message = delta } = data;
    if (type === 'error') return `${event.slice(0, at)}${quietError(data)}\n\n`;
    if (isObject(message) && message.container) {
      // It names the agent's skills.
      message.container = null;
      return `${event.slice(0, at)}${JSON.stringify(data)}\n\n`;
    }
    if (PASSED.test(String(type))) return event;
    if (!isObject(block)) {
      return isObject(delta) && delta.type !== 'citations_delta' && !this.#hidden.has(index) ? event : '';
    }
    if (isHiddenBlock(block)) this.#hidden.add(index);
    return `${event.slice(0, at)}${JSON.stringify({ ...data, content_block: hiddenBlock(block) })}\n\n`;
  }
}

/** Follows a turn as `TurnLog.follow` does. @param hides whether tools are hidden */
export function followed(
  log: Pick<TurnLog, 'follow' | 'text'>,
  after: number,
  hides: boolean,
): ReadableStream<Uint8Array> {
  const body = log.follow(after);
  if (!hides) return body;
  const reader = new HidingReader();
  // Whether a block is hidden is said where it begins, which this listener may have seen already.
  reader.readText(log.text);
  return reader.through(body);
}

/** @returns an answer in which tools are hidden. */
export function hiddenAnswer(answer: TurnAnswer): TurnAnswer {
  const reader = new HidingReader();
  if (answer.kind === 'ended') return { ...answer, events: reader.readText(answer.events) };
  if (answer.kind === 'stream') {
    const first = reader.readText(answer.first ?? '');
    return { ...answer, first, body: reader.through(answer.body) };
  }
  if (answer.kind === 'error') return answer.isEnd ? { ...answer, error: { ...answer.error, message: QUIET } } : answer;
  const message = parseObject(answer.body);
  if (message?.type === 'error') return { ...answer, body: quietError(message) };
  // Nobody has asked for an answer.
  if (!message || !Array.isArray(message.content)) return answer;
  const container = message.container && null;
  return { ...answer, body: JSON.stringify({ ...message, container, content: message.content.map(hiddenBlock) }) };
}

/** @returns an error of the API's form by its type alone, as JSON text. */
export function quietError({ error, request_id }: Json): string {
  const { type = 'api_error' } = isObject(error) ? error : {};
  return JSON.stringify({ type: 'error', error: { type, message: QUIET }, request_id });
}
