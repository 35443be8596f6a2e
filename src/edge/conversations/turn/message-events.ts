import { isObject, type JsonObject } from '../../kit/json/object.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import type { SseEvent } from '../../kit/sse/frames.ts';
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
export function createMessageEventStream(message: JsonObject): string {
  const { content, stop_reason = null, stop_sequence = null, usage, ...rest } = message;
  const { output_tokens, ...input } = isObject(usage) ? usage : {};
  const unended = { content: [], stop_reason: null, stop_sequence: null, usage: { ...input, output_tokens: 0 } };
  const events = [formatSseEvent('message_start', { message: { ...rest, ...unended } })];
  for (const [index, block] of (Array.isArray(content) ? content : []).entries()) {
    if (isObject(block)) events.push(...createBlockEvents(index, block));
  }
  events.push(formatSseEvent('message_delta', { delta: { stop_reason, stop_sequence }, usage: usage ?? {} }));
  events.push(formatSseEvent('message_stop', {}));
  return events.join('');
}

/**
 * Makes the events of an unfinished answer again, as the upstream has sent them, except that each block's deltas are joined.
 */
export function createUnfinishedMessageEventStream(builder: MessageBuilder): string {
  const { message, blocks, reportedUsage: usage, stopReason } = builder;
  const events = message ? [formatSseEvent('message_start', { message: { ...message, content: [] } })] : [];
  for (const [index, block] of blocks.entries()) {
    const input = builder.getToolInputJson(block);
    const [start = '', ...rest] = createBlockEvents(index, block.value);
    const end = rest.pop() ?? '';
    const delta = { type: 'input_json_delta', partial_json: input };
    events.push(start, ...(input === undefined ? rest : [formatSseEvent('content_block_delta', { index, delta })]));
    if (!block.isOpen) events.push(end);
  }
  if (stopReason !== null)
    events.push(formatSseEvent('message_delta', { delta: { stop_reason: stopReason }, usage: usage ?? {} }));
  return events.join('');
}

function createBlockEvents(index: number, block: JsonObject): string[] {
  const fields = (FILLED_FIELDS.get(block.type) ?? []).filter((field) => typeof block[field] === 'string');
  const deltas: JsonObject[] = fields.map((field) => ({ type: `${field}_delta`, [field]: block[field] }));
  const start: JsonObject = { ...block, ...Object.fromEntries(fields.map((field) => [field, ''])) };
  if (isObject(block.input)) {
    start.input = {};
    deltas.push({ type: 'input_json_delta', partial_json: stringifyWithRememberedTexts(block.input) });
  }
  return [
    formatSseEvent('content_block_start', { index, content_block: start }),
    ...deltas.map((delta) => formatSseEvent('content_block_delta', { index, delta })),
    formatSseEvent('content_block_stop', { index }),
  ];
}

function formatSseEvent(type: string, data: JsonObject): string {
  return `event: ${type}\ndata: ${stringifyWithRememberedTexts({ type, ...data })}\n\n`;
}

/** Adds a whole block to a log. */
export function addBlockToLog(log: { add(frame: SseEvent): void }, index: number, content_block: JsonObject): void {
  const add = (type: string, fields: object) =>
    log.add({ event: type, data: stringifyWithRememberedTexts({ type, index, ...fields }) });
  add('content_block_start', { content_block });
  add('content_block_stop', {});
}
