/**
 * Shows a run to its client as one message. Its steps write into the log of the run. What belongs to one step alone is not
 * shown: the beginning and end of its message, its own numbers of blocks, the growing input of the edge's tools.
 */

import type { EventWriter, TurnEventLog } from '../../conversations/turn/event-log.ts';
import type { MessageBuilder } from '../../conversations/turn/message-builder.ts';
import { addBlockToLog, createUnfinishedMessageEventStream } from '../../conversations/turn/message-events.ts';
import { toShownCall, toShownResult } from '../../conversations/views/edge-blocks.ts';
import { editJson } from '../../kit/json/edit.ts';
import { isObject, type JsonObject, parseJsonObject, toJsonText } from '../../kit/json/object.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import type { SseEvent } from '../../kit/sse/frames.ts';
import type { ToolCallRow } from './call-rows.ts';
import type { ToolResult } from './tool-result.ts';

export class RunStream {
  readonly log: TurnEventLog;
  readonly #isOfEdge: (name: string) => boolean;
  #next: number;
  #hasBegun: boolean;
  /** The ids of shown calls whose results are not shown yet. */
  readonly #open = new Set<string>();

  /** @param blocks how many blocks were shown before a crash */
  constructor(log: TurnEventLog, isEdgeTool: (name: string) => boolean, blocks = 0, hasBegun = false) {
    this.log = log;
    this.#isOfEdge = isEdgeTool;
    this.#next = blocks;
    this.#hasBegun = hasBegun;
  }

  /** @returns true for the first step that begins a message: only its `message_start` is shown. */
  markMessageStarted(): boolean {
    const isFirst = !this.#hasBegun;
    this.#hasBegun = true;
    return isFirst;
  }

  /** @returns the number of the next block that is shown. */
  takeNextBlockIndex(): number {
    this.#next += 1;
    return this.#next - 1;
  }

  isEdgeToolCall({ type, name }: JsonObject): boolean {
    return type === 'tool_use' && this.#isOfEdge(toJsonText(name));
  }

  /** @returns the edge's calls in an answer, in the form of its step's row; null if there are none */
  findEdgeCalls(content: readonly JsonObject[]): Pick<ToolCallRow, 'id' | 'name'>[] {
    return content
      .filter((block) => this.isEdgeToolCall(block))
      .map(({ id, name }) => ({ id: toJsonText(id), name: toJsonText(name) }));
  }

  addEvent(type: string, fields: object, remark?: string): void {
    this.log.add({ event: type, data: stringifyWithRememberedTexts({ type, ...fields }) }, remark);
  }

  showToolCall(block: JsonObject): void {
    this.#open.add(toJsonText(block.id));
    this.#showContentBlock(toShownCall(block));
  }

  showToolResult(id: string, { content, isError }: ToolResult): void {
    if (this.#open.delete(id)) this.#showContentBlock(toShownResult(id, content, isError));
  }

  /** @returns whether a call was shown but its result was not. */
  isAwaitingResult(id: string): boolean {
    return this.#open.has(id);
  }

  /** Records a call that was shown before a crash. */
  expectResult(id: string): void {
    this.#open.add(id);
  }

  /** The calls that were shown without a result. */
  get callIdsWithoutResult(): string[] {
    return [...this.#open];
  }

  #showContentBlock(content_block: JsonObject): void {
    addBlockToLog(this.log, this.takeNextBlockIndex(), content_block);
  }
}

/** Writes the events of a step into the log of its run. */
export class LiveStepWriter implements EventWriter {
  readonly #run: RunStream;
  readonly #builder: MessageBuilder;
  /** The shown numbers of blocks, by the step's own numbers; undefined for a block that is not shown while it streams. */
  readonly #indices = new Map<number, number | undefined>();
  /** The data of the last `message_delta`, and of an `error`. */
  delta: JsonObject | undefined;
  error: string | undefined;

  constructor(run: RunStream, builder: MessageBuilder) {
    this.#run = run;
    this.#builder = builder;
  }

  get #turnLog(): TurnEventLog {
    return this.#run.log;
  }

  /** The step's own events, by which it is settled. */
  get text(): string {
    return createUnfinishedMessageEventStream(this.#builder);
  }

  add(frame: SseEvent, remark?: string): void {
    const { event, data: text } = frame;
    const data = parseJsonObject(text) ?? {};
    switch (event) {
      case 'message_start':
        if (this.#run.markMessageStarted()) this.#turnLog.add(frame, remark);
        return;
      case 'content_block_start':
        this.#startBlock(data, text);
        return;
      case 'content_block_delta':
      case 'content_block_stop':
        this.#continueBlock(data, text);
        return;
      case 'message_delta':
        this.delta = data;
        return;
      // Do not show the `message_stop` of a step: the run sends its own at its end.
      case 'message_stop':
        return;
      case 'error':
        this.error = text;
        return;
      default:
        this.#turnLog.add(frame, remark);
    }
  }

  #startBlock({ index, content_block }: JsonObject, text: string): void {
    const isHidden = isObject(content_block) && this.#run.isEdgeToolCall(content_block);
    const shown = isHidden ? undefined : this.#run.takeNextBlockIndex();
    this.#indices.set(Number(index), shown);
    if (shown !== undefined) this.#addReindexedEvent(shown, 'content_block_start', text);
  }

  #continueBlock({ index, type }: JsonObject, text: string): void {
    const shown = this.#indices.get(Number(index));
    if (shown !== undefined) this.#addReindexedEvent(shown, toJsonText(type), text);
    else if (type === 'content_block_stop') this.#showCompleteCall(Number(index));
  }

  /** Adds an event unchanged except for the number of its block. */
  #addReindexedEvent(index: number, event: string, text: string): void {
    this.#turnLog.add({ event, data: editJson(text, { index: String(index) }).replaceAll('\n', ' ') });
  }

  #showCompleteCall(index: number): void {
    const block = this.#builder.getBlockAt(index);
    if (block && !block.isBroken && !block.isOpen) this.#run.showToolCall(block.value);
  }
}
