/**
 * Redacts answers for callers that may not see all of them. For a restricted token that may not see tools, each event and
 * message is unchanged except for the content of hidden blocks. If only text is shown, other blocks are left out and the rest
 * is renumbered.
 */

import { parseErrorType } from '../../claude/usage/usage-report.ts';
import { encoder } from '../../kit/http/bytes.ts';
import { parseEventRememberingInput, parseMessageRememberingInputs } from '../../kit/json/input-texts.ts';
import { isObject, type JsonObject } from '../../kit/json/object.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import { SseEventReader } from '../../kit/sse/frames.ts';
import { BlockVisibilityTracker } from './log-blocks.ts';
import {
  isReadableByEveryClient,
  isTextOnlyTurn,
  isToolDetailBlock,
  redactBlock,
  redactBlocks,
  type ViewerVisibility,
} from './redact-for.ts';
import type { TurnAnswer } from './turn-answer.ts';

/** A comment, and the events that have no part of a block. */
const PASSED_EVENTS = /^(:|message_|content_block_stop|ping)/;
/** A delta of a form that everybody reads. Most events are such, and none of them need be parsed. */
const PLAIN_DELTA =
  /\{"type":"content_block_delta","index":(\d+),"delta":\{"type":"(?:text|thinking|signature|input_json)_delta"/y;
/** A block whose beginning is unknown. */
const UNSEEN_BLOCK = { isHidden: true, number: undefined };
/** The message of an error for restricted tokens: the upstream's own message may quote the request. */
const HIDDEN_ERROR_MESSAGE = 'This response is incomplete. Ask again.';

/** The log of a turn, for its listeners. */
interface FollowableEventLog {
  /** @returns the events after the event with this number */
  follow(after: number): ReadableStream<Uint8Array>;
  readonly blocks: BlockVisibilityTracker;
}

/** Hides blocks in the events of one turn, however its bytes are split. */
class EventRedactor extends SseEventReader {
  readonly #shouldHideTools: boolean;
  readonly #isTextOnly: boolean;
  readonly #blocks: BlockVisibilityTracker;

  /** @param blocks those of the log that it reads: it may not see where they begin */
  constructor({ shouldHideTools: hides, textOnly = false }: ViewerVisibility, blocks = new BlockVisibilityTracker()) {
    super();
    this.#shouldHideTools = hides;
    this.#isTextOnly = textOnly;
    this.#blocks = blocks;
  }

  /** @returns the events that these bytes end, as they are shown. */
  redactBytes(bytes: Uint8Array): string {
    let shown = '';
    this.scanCompletedEvents(bytes, (text, start, end) => {
      shown += this.#redactEvent(text.slice(start, end + 2));
      return end + 2;
    });
    return shown;
  }

  redactText(text: string): string {
    return this.redactBytes(encoder.encode(text));
  }

  /** Hides tools in a stream of events. After the last event, the stream contains the turn's summary. */
  redactStream(body: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
    return body.pipeThrough(
      new TransformStream<Uint8Array, Uint8Array>({
        transform: (piece, to) => {
          const shown = this.redactBytes(piece);
          if (shown) to.enqueue(encoder.encode(shown));
        },
        flush: (to) => to.enqueue(encoder.encode(this.unfinishedEventText)),
      }),
    );
  }

  #redactEvent(event: string): string {
    const textOnly = this.#isTextOnly;
    const at = event.indexOf('data: ') + 6;
    const replaceEventData = (json: string) => `${event.slice(0, at)}${json}\n\n`;
    PLAIN_DELTA.lastIndex = at;
    const [head, digits] = PLAIN_DELTA.exec(event) ?? [];
    if (head) {
      const { isHidden, number } = this.#blocks.getBlock(Number(digits)) ?? UNSEEN_BLOCK;
      if ((this.#shouldHideTools && isHidden) || (textOnly && number === undefined)) return '';
      if (!textOnly || number === Number(digits)) return event;
      return event.slice(0, at) + head.replace(/\d+/, String(number)) + event.slice(at + head.length);
    }
    const begun = this.#blocks.addBlockFromText(event, at);
    if (textOnly && begun && begun.number === undefined) return '';
    if (!textOnly && begun?.hidden !== undefined) return replaceEventData(begun.hidden);
    const data = parseEventRememberingInput(event.slice(at)) ?? { type: event };
    const { type, index, delta, content_block: block, message = delta } = data;
    const seen = isObject(block) ? this.#blocks.begin(index, block) : (this.#blocks.getBlock(index) ?? UNSEEN_BLOCK);
    if (textOnly && index !== undefined) {
      const { number } = seen;
      if (number === undefined || (isObject(delta) && !isReadableByEveryClient(delta))) return '';
      data.index = number;
      if (number !== index) event = replaceEventData(stringifyWithRememberedTexts(data));
    }
    if (!this.#shouldHideTools)
      return PASSED_EVENTS.test(String(type)) || type === 'error' || index !== undefined ? event : '';
    if (type === 'error') return replaceEventData(redactError(data));
    if (isObject(message) && message.container) {
      // Hide the container, because it names the agent's skills.
      message.container = null;
      return replaceEventData(JSON.stringify(data));
    }
    if (PASSED_EVENTS.test(String(type))) return event;
    if (!isObject(block)) {
      return isObject(delta) && delta.type !== 'citations_delta' && !seen.isHidden ? event : '';
    }
    const json = stringifyWithRememberedTexts({ type, index: data.index, content_block: redactBlock(block) });
    // Store the redacted event, so that the next listener does not parse the tool result again, which may be long.
    if (isToolDetailBlock(block) && begun) begun.hidden = json;
    return replaceEventData(json);
  }
}

/** Follows a turn as its log does, with the events redacted for the listener. */
export function streamRedactedEvents(
  log: FollowableEventLog,
  after: number,
  viewer: ViewerVisibility,
): ReadableStream<Uint8Array> {
  // Create the redactor before following the log: it throws if the log is damaged, and then no follower must remain.
  const reader = viewer.shouldHideTools || viewer.textOnly ? new EventRedactor(viewer, log.blocks) : undefined;
  const body = log.follow(after);
  return reader?.redactStream(body) ?? body;
}

/** @returns an answer of which only that is shown which its caller sees. @param hides as in `ViewerVisibility` @param log of the turn that runs */
export function redactAnswer(
  answer: TurnAnswer,
  hides: boolean,
  log?: Pick<FollowableEventLog, 'blocks'> & { id: string },
): TurnAnswer {
  if (answer.kind === 'error') {
    return hides && answer.isEnd ? { ...answer, error: { ...answer.error, message: HIDDEN_ERROR_MESSAGE } } : answer;
  }
  const viewer = { shouldHideTools: hides, textOnly: isTextOnlyTurn(answer.turn) };
  if (!hides && !viewer.textOnly) return answer;
  const reader = new EventRedactor(viewer, log?.id === answer.turn ? log.blocks : undefined);
  if (answer.kind === 'complete_stream')
    return { ...answer, events: reader.redactText(answer.events) + reader.unfinishedEventText };
  if (answer.kind === 'stream') {
    const first = reader.redactText(answer.first ?? '');
    return { ...answer, first, body: reader.redactStream(answer.body) };
  }
  const message = parseMessageRememberingInputs(answer.body);
  // A rejection may come with an error status, or as an error object with another status.
  const isRefusal = answer.status >= 400 || message?.type === 'error';
  if (hides && isRefusal) return { ...answer, body: redactError(message ?? {}) };
  // Without content there is nothing to redact.
  if (!message || !Array.isArray(message.content)) return answer;
  message.content = redactBlocks(message.content as JsonObject[], viewer);
  if (hides) message.container &&= null;
  return { ...answer, body: stringifyWithRememberedTexts(message) };
}

/** @returns an error of the API's form by its type alone, as JSON text. */
export function redactError({ error, request_id: id }: JsonObject): string {
  const request_id = /^req_[\w.]+$/.test(String(id)) ? id : undefined;
  return JSON.stringify({
    type: 'error',
    error: { type: parseErrorType({ error }), message: HIDDEN_ERROR_MESSAGE },
    request_id,
  });
}
