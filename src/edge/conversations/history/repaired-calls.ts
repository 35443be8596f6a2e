/**
 * Repairs tool calls so that the API accepts them in later requests: their names, ids, inputs that are not objects, and results
 * after text.
 */

import { editJson, parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';
import { isObject, type JsonObject, parseJsonObject, toJsonText } from '../../kit/json/object.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import { moveResultsFirst } from './results-first.ts';
import type { Transcript } from './storage/transcript.ts';

/** The most characters of a name. */
const MAX_TOOL_NAME_CHARACTERS = 200;
const TOOL_NAME = /^[a-zA-Z0-9_-]{1,200}$/;
const CALL_ID = /^[a-zA-Z0-9_-]+$/;
/** Ids as the API makes them: none comes twice. */
const RANDOM_CALL_ID = /^toolu_[a-zA-Z0-9]{20,}$/;
const ODD = /[^a-zA-Z0-9_-]/g;

/** @returns a name that the API takes back */
export function repairToolName(name: unknown): string {
  const text = toJsonText(name ?? '');
  return TOOL_NAME.test(text) ? text : text.replace(ODD, '_').slice(0, MAX_TOOL_NAME_CHARACTERS) || 'tool';
}

/** @returns whether a call can have an id: the API takes it back, and no other call of the history has it */
export function isFreeCallId(transcript: Transcript, id: unknown): boolean {
  if (typeof id !== 'string' || !CALL_ID.test(id)) return false;
  if (RANDOM_CALL_ID.test(id)) return true;
  const quoted = JSON.stringify(id);
  return !(
    transcript.hasRows("messages where role = 'assistant' and instr(text, ?) > 0", quoted) ||
    transcript.hasRows('pieces where owner > 0 and instr(text, ?) > 0', quoted)
  );
}

/** @returns a call with an input that is an object; the same call if it has one */
export function ensureObjectInput(block: JsonObject): JsonObject {
  if (block.type !== 'tool_use' || isObject(block.input)) return block;
  return { ...block, input: block.input === undefined ? {} : { input: block.input } };
}

/**
 * Mends the calls of messages from elsewhere, and the ids of their results. The same messages are always mended alike, so a
 * client that sends them again is matched.
 *
 * @param texts messages as JSON texts
 * @returns the same texts where there is nothing to mend
 */
export function repairCallsInMessages(texts: readonly string[]): string[] {
  const ids = new RepairedIds();
  return texts.map((text) => {
    if (!text.includes('tool_')) return text;
    const { role, content } = parseJsonObject(text) ?? {};
    if (!Array.isArray(content)) return text;
    if (role === 'assistant') ids.beginNextAnswer();
    const mended = content.map((block: unknown) =>
      isObject(block) ? repairCallOrResultBlock(block, role, ids) : block,
    );
    const blocks = role === 'user' ? moveResultsFirst(mended, ids.listIdsOfLastAnswer()) : mended;
    return blocks.every((block, at) => block === content[at])
      ? text
      : editJson(text, { content: stringifyWithRememberedTexts(blocks) });
  });
}

/** The same for a body with messages. */
export function repairCallsInBody(body: string): string {
  if (!body.includes('"tool_use"')) return body;
  const texts = splitArrayItems(parseMemberTexts(body).get('messages') ?? '[]');
  const mended = repairCallsInMessages(texts);
  return mended.every((text, at) => text === texts[at]) ? body : editJson(body, { messages: `[${mended.join(',')}]` });
}

/** Ids of calls as they come, and as they are mended. */
class RepairedIds {
  #last: string[] = [];
  readonly #used = new Set<string>();
  readonly #now = new Map<string, string>();
  /** The number that an id gets when it comes again. Counted, so that an id that comes a hundred thousand times is linear. */
  readonly #next = new Map<string, number>();

  /** Begins the calls of another answer. */
  beginNextAnswer(): void {
    this.#last = [];
  }

  /** @returns the id of the next call */
  createNextId(former: string): string {
    const good = CALL_ID.test(former) ? former : `toolu_${former.replace(ODD, '_')}`;
    let id = good;
    let n = this.#next.get(good) ?? 2;
    for (; this.#used.has(id); n += 1) id = `${good}_${n}`;
    this.#next.set(good, n);
    this.#used.add(id);
    this.#last.push(id);
    this.#now.set(former, id);
    return id;
  }

  /** @returns the ids of the calls of the last answer, in their order */
  listIdsOfLastAnswer(): readonly string[] {
    return this.#last;
  }

  /** @returns the id of the call that a result answers */
  getIdForResult(former: string): string {
    return this.#now.get(former) ?? former;
  }
}

function repairCallOrResultBlock(block: JsonObject, role: unknown, ids: RepairedIds): JsonObject {
  if (role === 'assistant' && block.type === 'tool_use') {
    const id = ids.createNextId(toJsonText(block.id));
    const name = repairToolName(block.name);
    const mended = ensureObjectInput(block);
    return id === block.id && name === block.name && mended === block ? block : { ...mended, id, name };
  }
  if (block.type !== 'tool_result') return block;
  const id = ids.getIdForResult(toJsonText(block.tool_use_id));
  return id === block.tool_use_id ? block : { ...block, tool_use_id: id };
}
