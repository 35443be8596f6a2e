import type { Usage } from '../../claude/pricing/cost.ts';
import { ReportedUsage } from '../../claude/usage/reported-usage.ts';
import { isObject, type JsonObject, toJsonText } from '../../kit/json/object.ts';
import { parseJsonRememberingText } from '../../kit/json/remembered-text.ts';
import type { StreamedContentBlock } from '../history/replayable-blocks.ts';

/**
 * Builds a message from its events, as the official SDKs do: blocks as they came, with deltas added to them. It refuses
 * nothing, and keeps unknown kinds of blocks and deltas as they came.
 */
export class MessageBuilder {
  /** The message of `message_start`, with the changes of `message_delta`. */
  message: JsonObject | undefined;
  readonly blocks: StreamedContentBlock[] = [];
  /** Whether `message_stop` has come. */
  hasStopped = false;
  readonly reported = new ReportedUsage();
  readonly #byIndex = new Map<number, StreamedContentBlock>();
  readonly #inputs = new Map<StreamedContentBlock, string>();

  /** Takes the data of the next event. */
  addEventData(event: JsonObject): void {
    switch (event.type) {
      case 'message_start':
        this.message = { ...(isObject(event.message) ? event.message : {}) };
        // Report an empty usage if the event has none, because the answer has begun anyway.
        this.reported.addReport(this.message.usage ?? {}, 'message_start');
        break;
      case 'content_block_start':
        this.#addStartedBlock(event);
        break;
      case 'content_block_delta':
        this.#applyBlockDelta(event);
        break;
      case 'content_block_stop':
        this.#stopBlock(event);
        break;
      case 'message_delta':
        this.#mergeMessageDelta(event);
        break;
      case 'message_stop':
        this.hasStopped = true;
        break;
    }
  }

  /** @returns the indices of the blocks that are still open, in their order. */
  get openBlockIndices(): number[] {
    return [...this.#byIndex].filter(([, block]) => block.isOpen).map(([index]) => index);
  }

  /** @returns the JSON of a tool's input, as far as it has come. */
  getToolInputJson(block: StreamedContentBlock): string | undefined {
    return this.#inputs.get(block);
  }

  get stopReason(): string | null {
    return typeof this.message?.stop_reason === 'string' ? this.message.stop_reason : null;
  }

  get reportedUsage(): Usage | undefined {
    return this.reported.usage;
  }

  /** Whether the upstream has reported the output, and the number is plausible for the content so far. */
  get hasReportedOutput(): boolean {
    const texts = this.blocks.map(({ value }) => (value.type === 'text' ? toJsonText(value.text) : ''));
    return this.reported.hasPlausibleOutput(
      [...texts, ...this.#inputs.values()].reduce((sum, { length }) => sum + length, 0),
    );
  }

  #addStartedBlock({ index, content_block }: JsonObject): void {
    if (typeof index !== 'number') return;
    const block: StreamedContentBlock = {
      value: isObject(content_block) ? { ...content_block } : {},
      isOpen: true,
      isBroken: false,
    };
    this.blocks.push(block);
    this.#byIndex.set(index, block);
    const { type, to } = block.value;
    if (type === 'fallback') this.reported.startNextModel();
    else this.reported.hasBlocks = true;
    // A `fallback` block means that another model continues the answer inside the API. From now on it is the model of this
    // message.
    if (type === 'fallback' && this.message && isObject(to)) this.message.model = to.model;
  }

  getBlockAt(index: unknown): StreamedContentBlock | undefined {
    return typeof index === 'number' ? this.#byIndex.get(index) : undefined;
  }

  #applyBlockDelta({ index, delta }: JsonObject): void {
    const block = this.getBlockAt(index);
    if (!block || !isObject(delta)) return;
    const { value } = block;
    for (const [name, added] of Object.entries(delta)) {
      // Skip `estimated_tokens`: clients use it as a progress display, and it is not a member of the finished block.
      if (name === 'type' || (delta.type === 'thinking_delta' && name === 'estimated_tokens')) continue;
      if (delta.type === 'input_json_delta' && name === 'partial_json') {
        this.#inputs.set(block, (this.#inputs.get(block) ?? '') + toJsonText(added));
      } else if (delta.type === 'citations_delta' && name === 'citation') {
        value.citations = [...(Array.isArray(value.citations) ? value.citations : []), added];
      } else if (typeof added === 'string' && typeof value[name] === 'string' && !isFinalValueDelta(delta)) {
        value[name] += added;
      } else value[name] = added;
    }
  }

  #stopBlock({ index }: JsonObject): void {
    const block = this.getBlockAt(index);
    if (!block) return;
    block.isOpen = false;
    const input = this.#inputs.get(block);
    if (input === undefined || input === '') return;
    try {
      block.value.input = parseJsonRememberingText(input);
    } catch {
      block.isBroken = true;
    }
  }

  /** Merges a `message_delta` into the message. Skips nulls, because it lacks much of what `message_start` has. */
  #mergeMessageDelta({ type: _, delta, usage, ...others }: JsonObject): void {
    const message = this.message ?? {};
    this.message = message;
    const { container, ...ended } = isObject(delta) ? delta : {};
    Object.assign(message, ended, removeNullMembers({ container, ...others }));
    if (isObject(usage))
      message.usage = {
        ...(isObject(message.usage) ? message.usage : {}),
        ...this.reported.addReport(usage, 'message_delta'),
      };
  }
}

function removeNullMembers(json: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(json).filter(([, value]) => (value ?? undefined) !== undefined));
}

/** @returns whether a delta has the final value of its members, and not a piece. */
function isFinalValueDelta({ type }: JsonObject): boolean {
  return type === 'signature_delta' || type === 'compaction_delta';
}
