import { isObject, type Json } from '../../kit/json/object.ts';
import { writeJson } from '../../kit/json/remembered-text.ts';
import type { Frame } from '../../kit/sse/frames.ts';
import type { MessageBuilder } from './message-builder.ts';

/** The fields of each kind of block that deltas fill. A delta's type is the field's name and `_delta`. */
const FILLED_FIELDS: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['text', ['text']],
  ['thinking', ['thinking', 'signature']],
]);

/**
 * Makes the event stream of a message that came in one piece.
 *
 * @param message a Messages answer: `type` is `message`
 * @returns its events, from `message_start` to `message_stop`
 */
export function eventsOf(message: Json): string {
  const { content, stop_reason = null, stop_sequence = null, usage, ...rest } = message;
  const { output_tokens, ...input } = isObject(usage) ? usage : {};
  const unended = { content: [], stop_reason: null, stop_sequence: null, usage: { ...input, output_tokens: 0 } };
  const events = [formatEvent('message_start', { message: { ...rest, ...unended } })];
  for (const [index, block] of (Array.isArray(content) ? content : []).entries()) {
    if (isObject(block)) events.push(...blockEvents(index, block));
  }
  events.push(formatEvent('message_delta', { delta: { stop_reason, stop_sequence }, usage: usage ?? {} }));
  events.push(formatEvent('message_stop', {}));
  return events.join('');
}

/**
 * Makes the events of an unfinished answer again, as the upstream has sent them, except that each block's deltas are joined.
 */
export function eventsOfUnfinished(builder: MessageBuilder): string {
  const { message, blocks, usage, stopReason } = builder;
  const events = message ? [formatEvent('message_start', { message: { ...message, content: [] } })] : [];
  for (const [index, block] of blocks.entries()) {
    const input = builder.inputOf(block);
    const [start = '', ...rest] = blockEvents(index, block.value);
    const end = rest.pop() ?? '';
    const delta = { type: 'input_json_delta', partial_json: input };
    events.push(start, ...(input === undefined ? rest : [formatEvent('content_block_delta', { index, delta })]));
    if (!block.isOpen) events.push(end);
  }
  if (stopReason !== null)
    events.push(formatEvent('message_delta', { delta: { stop_reason: stopReason }, usage: usage ?? {} }));
  return events.join('');
}

function blockEvents(index: number, block: Json): string[] {
  const fields = (FILLED_FIELDS.get(block.type) ?? []).filter((field) => typeof block[field] === 'string');
  const deltas: Json[] = fields.map((field) => ({ type: `${field}_delta`, [field]: block[field] }));
  const start: Json = { ...block, ...Object.fromEntries(fields.map((field) => [field, ''])) };
  if (isObject(block.input)) {
    start.input = {};
    deltas.push({ type: 'input_json_delta', partial_json: writeJson(block.input) });
  }
  return [
    formatEvent('content_block_start', { index, content_block: start }),
    ...deltas.map((delta) => formatEvent('content_block_delta', { index, delta })),
    formatEvent('content_block_stop', { index }),
  ];
}

function formatEvent(type: string, data: Json): string {
  return `event: ${type}\ndata: ${writeJson({ type, ...data })}\n\n`;
}

/** Adds a whole block to a log. */
export function addBlock(log: { add(frame: Frame): void }, index: number, content_block: Json): void {
  const add = (type: string, fields: object) => log.add({ event: type, data: writeJson({ type, index, ...fields }) });
  add('content_block_start', { content_block });
  add('content_block_stop', {});
}
