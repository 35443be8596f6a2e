/**
 * Stores the beginning of a prompt, and puts it before the caller's part of a request.
 *
 * The upstream's cache finds a prompt by its bytes. So the bytes of a prefix are written once, when it is stored, and are
 * only joined later. The expanded body begins with `tools`, `system` and `messages`, in the order in which the API reads
 * them. Up to a breakpoint it is equal for all requests whose own parts before that breakpoint are equal.
 */

import type { RequestBodyFactory } from '../../claude/providers/provider.ts';
import {
  chooseCacheLifetime,
  createCacheControl,
  findBreakpoints,
  listCallerLifetimes,
  MAX_BREAKPOINTS,
  PROMPT_PARTS,
  type PromptPart,
} from '../../claude/request/cache-breakpoints.ts';
import { createUpstreamBody } from '../../claude/request/upstream-body.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import {
  createPartPlaceholder,
  createPlaceholderSourceId,
  type PlaceholderSource,
  replacePlaceholdersByPieces,
  sumPieceLengths,
} from '../../kit/http/body-pieces.ts';
import { encoder } from '../../kit/http/bytes.ts';
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { LongStringBody } from '../../kit/http/long-body.ts';
import { getBodySize } from '../../kit/http/read-json.ts';
import { editJson, parseMemberTexts } from '../../kit/json/edit.ts';
import { isObject, type JsonObject, removeUndefined } from '../../kit/json/object.ts';
import { createToolForModel } from '../tools/edge-tools.ts';
import type { PrefixFields } from './prefixes.schema.ts';

/** A version as it is stored: its system has the form in which it was sent. */
export interface StoredPrefixContent extends Omit<PrefixFields, PromptPart> {
  tools: JsonObject[];
  system?: string | JsonObject[] | undefined;
  messages: JsonObject[];
}

/** A version as requests use it. */
export interface ParsedPrefix {
  content: StoredPrefixContent;
  /** The JSON of each list's items with their breakpoints, joined by commas, as pieces of bytes in order. */
  pieces: Record<PromptPart, readonly Uint8Array[]>;
  /** The same lists, parsed, for code that reads them. */
  json: Record<PromptPart, readonly unknown[]>;
  /** The parts that have a breakpoint at their end. */
  marked: readonly PromptPart[];
  /** The tools that the edge calls itself, each with its name and `run`, as a JSON list; undefined if it has none. */
  runs: string | undefined;
  /** The long strings that are replaced by placeholders in `content` and `json`. */
  sources: readonly PlaceholderSource[];
  /** Its size in memory, in bytes. */
  memorySize: number;
}

/** An estimate: parsed JSON takes at most this many times the length of its text. */
const PARSED_SIZE_FACTOR = 4;
const UNCACHEABLE: ReadonlySet<unknown> = new Set(['thinking', 'redacted_thinking']);

/**
 * Brings a prefix into its stored form. Equal prefixes get equal text, even if their members were ordered, spaced or escaped
 * differently. Within a tool or a block the order stays, because a model reads a schema in its order.
 *
 * @throws ApiError 400 if it cannot be a prefix
 */
export function createCanonicalPrefixText(fields: PrefixFields): string {
  const {
    tools = [],
    system,
    messages = [],
    model,
    max_tokens,
    fallback_models,
    cache_ttl,
    description,
    history,
  } = fields;
  const blocks = toSystemBlocks(system);
  const own = [...findBreakpoints('tools', tools), ...findBreakpoints('system', blocks)];
  const [first] = [...own, ...findBreakpoints('messages', messages)];
  if (first) {
    throw createInvalidRequestError(
      `${first.path}.cache_control: not supported in prefixes, because Sluice sets the cache breakpoints. Set the lifetime with cache_ttl.`,
    );
  }
  if (tools.length + blocks.length + messages.length === 0) {
    throw createInvalidRequestError('A prefix requires non-empty tools, system or messages.');
  }
  const content: StoredPrefixContent = {
    tools,
    ...removeUndefined({ system }),
    messages,
    ...removeUndefined({ model, max_tokens, fallback_models, history }),
    cache_ttl,
    ...removeUndefined({ description }),
  };
  addPrefixBreakpoints(content);
  return JSON.stringify(content);
}

export function parsePrefix(body: JsonBody): ParsedPrefix {
  // Only `createCanonicalPrefixText` writes what is read here, and its fields were validated.
  const content = body.json as object as StoredPrefixContent;
  const sources = body instanceof LongStringBody ? body.sources : [];
  const { json, marked } = addPrefixBreakpoints({
    ...content,
    tools: content.tools.map(createToolForModel).filter((tool) => tool !== undefined),
  });
  const runs = content.tools.filter((tool) => Object.hasOwn(tool, 'run')).map(({ name, run }) => ({ name, run }));
  const pieces = {
    tools: createJsonPieces(json.tools, sources),
    system: createJsonPieces(json.system, sources),
    messages: createJsonPieces(json.messages, sources),
  };
  // Long strings stay in the stored bytes, so they count once. Everything else is in memory as bytes and as parsed values.
  const bytes = sources.length > 0 ? getBodySize(body) : sumPieceLengths(PROMPT_PARTS.flatMap((part) => pieces[part]));
  const memorySize = bytes + body.text.length * PARSED_SIZE_FACTOR;
  return {
    content,
    pieces,
    json,
    marked,
    runs: runs.length > 0 ? JSON.stringify(runs) : undefined,
    sources,
    memorySize,
  };
}

function createJsonPieces(list: readonly unknown[], sources: readonly PlaceholderSource[]): readonly Uint8Array[] {
  return replacePlaceholdersByPieces(JSON.stringify(list).slice(1, -1), sources);
}

function addPrefixBreakpoints(content: StoredPrefixContent): Pick<ParsedPrefix, 'json' | 'marked'> {
  const { tools, messages, cache_ttl } = content;
  const system = toSystemBlocks(content.system);
  const control = createCacheControl(cache_ttl);
  const end: PromptPart = messages.length > 0 ? 'messages' : system.length > 0 ? 'system' : 'tools';
  // Add a breakpoint after the tools as well: a tool that the caller adds changes everything after it, but the prefix's tools
  // can still be read from the cache. A tool with `defer_loading` is not in the prompt, and the API rejects a breakpoint on it.
  const lastTool = tools.findLastIndex((tool) => tool.defer_loading !== true);
  const marked: PromptPart[] = lastTool < 0 ? [] : ['tools'];
  if (end !== 'tools') marked.push(end);
  const json = {
    tools: replaceItemAt(tools, lastTool, (tool) => ({ ...tool, cache_control: control })),
    system: replaceItemAt(system, end === 'system' ? system.length - 1 : -1, (last) => ({
      ...last,
      cache_control: control,
    })),
    messages: replaceItemAt(messages, messages.length - 1, (last) => ({
      ...last,
      content: addContentBreakpoint(last.content, control),
    })),
  };
  return { json, marked };
}

function replaceItemAt(list: JsonObject[], at: number, change: (item: JsonObject) => JsonObject): JsonObject[] {
  return list.map((item, index) => (index === at ? change(item) : item));
}

function addContentBreakpoint(content: unknown, control: JsonObject): JsonObject[] {
  const blocks: JsonObject[] =
    typeof content === 'string' ? [{ type: 'text', text: content }] : (content as JsonObject[]);
  const at = blocks.findLastIndex(({ type, text }) => !UNCACHEABLE.has(type) && text !== '');
  if (at < 0) {
    throw createInvalidRequestError(
      'messages: the last message of a prefix needs content that the API can cache, such as text.',
    );
  }
  return blocks.map((block, index) => (index === at ? { ...block, cache_control: control } : block));
}

/**
 * Puts the tools, system and messages of a prefix before those of a request. The end of the history is cached
 * automatically, unless the caller has breakpoints of their own.
 *
 * @param body its `messages` are a list
 * @param defaults members that are set if the caller has left them out; undefined sets nothing
 * @throws ApiError 400 if the caller's parts do not fit the prefix
 */
export function expandPrefix(
  body: JsonBody,
  prefix: ParsedPrefix,
  defaults: Readonly<Record<string, unknown>> = {},
): JsonBody {
  const before = parseMemberTexts(body.text);
  const changes: Record<string, string | undefined> = {
    tools: undefined,
    system: undefined,
    messages: undefined,
    prefix: undefined,
  };
  const { prefix: _, ...json } = body.json;
  for (const [name, value] of Object.entries(defaults)) {
    if (value === undefined || (json[name] !== undefined && json[name] !== null)) continue;
    changes[name] = JSON.stringify(value);
    json[name] = value;
  }
  const own = {
    tools: readOptionalList(body.json, 'tools'),
    system: readSystemBlocks(body.json),
    messages: readOptionalList(body.json, 'messages'),
  };
  const { isAutomatic, parts } = fitBreakpoints(prefix, own, body.json.cache_control);
  if (isAutomatic) {
    json.cache_control = createCacheControl('5m');
    changes.cache_control = JSON.stringify(json.cache_control);
  }
  const stored: PlaceholderSource = {
    id: createPlaceholderSourceId(),
    getPieces: (index) => parts.pieces[PROMPT_PARTS[index] ?? 'tools'],
  };
  const members: string[] = [];
  for (const [index, part] of PROMPT_PARTS.entries()) {
    const items = getItemsText(before.get(part), own[part]);
    const hasStored = parts.json[part].length > 0;
    if (items === '' && !hasStored) {
      delete json[part];
      continue;
    }
    const list = [...(hasStored ? [createPartPlaceholder(stored.id, index)] : []), ...(items === '' ? [] : [items])];
    members.push(`"${part}":[${list.join(',')}]`);
    json[part] = [...parts.json[part], ...own[part]];
  }
  const others = editJson(body.text, changes);
  const rest = others.slice(others.indexOf('{') + 1);
  const text = `{${members.join(',')}${/^\s*}/.test(rest) ? rest : `,${rest}`}`;
  // `readings` is where repeated keys may be, which parsers resolve differently. Take it from the caller’s body, because the
  // stored text repeats no keys.
  const { readings = { text: body.text, json: body.json } } = body;
  const sources = [stored, ...prefix.sources, ...(body instanceof LongStringBody ? body.sources : [])];
  return new LongStringBody({ text, json, readings }, sources);
}

/** @throws ApiError 400 if the edge must call tools of the prefix, but there is no conversation that keeps the steps */
export function rejectPrefixWithRunTools({ runs }: ParsedPrefix): void {
  if (runs === undefined) return;
  throw createInvalidRequestError(
    'prefix: its tools with `run` require a conversation. Send `conversation` with an id of your choice.',
  );
}

const FILLER = { role: 'user', content: '.' };

/**
 * Writes the bodies by which the upstream counts a prefix. A prompt must end with a user's message, so one may be added.
 *
 * @returns `complete`: the prefix with what was added; `added`: only what was added, or undefined if nothing was
 */
export function createTokenCountBodies(
  prefix: ParsedPrefix,
  model: string,
): {
  createCompleteBody: RequestBodyFactory;
  added: RequestBodyFactory | undefined;
} {
  const endsWithUser = prefix.content.messages.at(-1)?.role === 'user';
  const request = { model, messages: endsWithUser ? [] : [FILLER] };
  const text = JSON.stringify(request);
  const whole = expandPrefix({ text, bytes: encoder.encode(text), json: request }, prefix);
  const complete: RequestBodyFactory = (changes) => createUpstreamBody(whole, changes);
  return { createCompleteBody: complete, added: endsWithUser ? undefined : (changes) => editJson(text, changes) };
}

/** @returns the JSON text between the brackets of a list, as the caller wrote it */
function getItemsText(text: string | undefined, items: readonly unknown[]): string {
  if (text === undefined || items.length === 0) return '';
  return text.startsWith('"') ? `{"type":"text","text":${text}}` : text.slice(1, -1).trim();
}

function readOptionalList(json: JsonObject, name: string): unknown[] {
  const list = json[name];
  if (list === undefined || list === null) return [];
  if (!Array.isArray(list)) throw createInvalidRequestError(`${name}: Input should be a valid list`);
  return list;
}

function readSystemBlocks(json: JsonObject): unknown[] {
  const { system } = json;
  return typeof system === 'string' ? toSystemBlocks(system) : readOptionalList(json, 'system');
}

function toSystemBlocks(system: StoredPrefixContent['system'] = []): JsonObject[] {
  if (typeof system !== 'string') return system;
  return system === '' ? [] : [{ type: 'text', text: system }];
}

/**
 * Fits the prefix's breakpoints to those of the caller, so that a request which is valid without them stays valid. Their
 * lifetimes change as `chooseCacheLifetime` explains. If the caller leaves fewer of the API's four breakpoints than the prefix
 * uses, the prefix has only its last one, or none.
 *
 * @returns the prefix's parts, and whether to ask for automatic caching
 */
function fitBreakpoints(
  prefix: ParsedPrefix,
  own: Record<PromptPart, readonly unknown[]>,
  automatic: unknown,
): { isAutomatic: boolean; parts: Pick<ParsedPrefix, 'json' | 'pieces'> } {
  const { marked, content } = prefix;
  const callers = listCallerLifetimes(own, automatic);
  const used = Object.values(callers).flat().length;
  const json = { ...prefix.json };
  const pieces = { ...prefix.pieces };
  const last = marked.at(-1);
  // If nothing follows the last breakpoint, it is where automatic caching would be, which must have the same lifetime.
  const isLastOfPrompt =
    last !== undefined && PROMPT_PARTS.slice(PROMPT_PARTS.indexOf(last)).every((part) => own[part].length === 0);
  const kept = marked.slice(Math.max(0, marked.length - Math.max(0, MAX_BREAKPOINTS - used)));
  for (const part of marked) {
    const isKept = kept.includes(part) && !(part === last && isLastOfPrompt && callers.automatic.length > 0);
    const ttl = isKept ? chooseCacheLifetime(part, content.cache_ttl, callers) : undefined;
    if (ttl === content.cache_ttl) continue;
    json[part] = changeBreakpoints(prefix.json[part], ttl && createCacheControl(ttl));
    pieces[part] = createJsonPieces(json[part], prefix.sources);
  }
  return { isAutomatic: used === 0 && !isLastOfPrompt, parts: { json, pieces } };
}

/** Changes the breakpoints of a part of a prefix. @param control undefined removes them */
function changeBreakpoints(items: readonly unknown[], control: JsonObject | undefined): unknown[] {
  return items.map((item) => {
    if (!isObject(item)) return item;
    if (isObject(item.cache_control)) return removeUndefined({ ...item, cache_control: control });
    return Array.isArray(item.content) ? { ...item, content: changeBreakpoints(item.content, control) } : item;
  });
}
