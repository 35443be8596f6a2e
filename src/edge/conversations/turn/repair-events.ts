/** Changes events of an answer that a later request could not send back as they came from the upstream. */

import { editJson, parseMemberTexts } from '../../kit/json/edit.ts';
import { isObject, type JsonObject, toJsonText } from '../../kit/json/object.ts';
import type { SseEvent } from '../../kit/sse/frames.ts';
import { isFreeCallId, repairToolName } from '../history/repaired-calls.ts';
import { isAnswerIdAvailable } from '../history/storage/message-rows.ts';
import type { TurnRow } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import type { MessageBuilder } from './message-builder.ts';

/** Repairs the events of one answer before they are stored and shown. */
export class EventRepairer {
  /** The ids of calls whose name or id the API would not accept. */
  readonly repairedCallIds = new Set<string>();
  readonly #transcript: Transcript;
  readonly #row: TurnRow;
  readonly #builder: MessageBuilder;

  constructor(transcript: Transcript, row: TurnRow, builder: MessageBuilder) {
    this.#transcript = transcript;
    this.#row = row;
    this.#builder = builder;
  }

  /** The id of the answer if the upstream's cannot be used. A turn that is sent again after a crash has the same id, not number. */
  get fallbackAnswerId(): string {
    return `msg_${this.#row.id}_answer_${this.#row.seq}`;
  }

  /** Repairs an event. @param data its data, which is changed too @returns the event; the same one if nothing is to be repaired */
  repairEvent(data: JsonObject, frame: SseEvent): SseEvent {
    if (data.type === 'message_start') return this.#repairAnswerId(data, frame);
    return data.type === 'content_block_start' ? this.#repairToolCall(data, frame) : frame;
  }

  /** Replaces an id of the answer that another answer of the conversation has. */
  #repairAnswerId({ message }: JsonObject, frame: SseEvent): SseEvent {
    if (!isObject(message) || isAnswerIdAvailable(this.#transcript, message.id)) return frame;
    const id = this.fallbackAnswerId;
    message.id = id;
    const text = editJson(parseMemberTexts(frame.data).get('message') ?? '', { id: JSON.stringify(id) });
    return { event: frame.event, data: editJson(frame.data, { message: text }) };
  }

  /** Repairs the name and the id of a call. */
  #repairToolCall(data: JsonObject, frame: SseEvent): SseEvent {
    const { content_block: block } = data;
    if (!isObject(block) || block.type !== 'tool_use') return frame;
    const { blocks } = this.#builder;
    const isTwice = blocks.some(({ value }) => value.type === 'tool_use' && value.id === block.id);
    const isFree = !isTwice && isFreeCallId(this.#transcript, block.id);
    const [name, id] = [repairToolName(block.name), isFree ? block.id : `toolu_${this.#row.id}_${blocks.length}`];
    if (name === block.name && id === block.id) return frame;
    this.repairedCallIds.add(toJsonText(id));
    data.content_block = { ...block, name, id };
    const text = parseMemberTexts(frame.data).get('content_block') ?? '{}';
    const content_block = editJson(text, { name: JSON.stringify(name), id: JSON.stringify(id) });
    return { event: frame.event, data: editJson(frame.data, { content_block }) };
  }
}
