/**
 * Stores the beginning of a prompt, and puts it before the caller's part of a request.
 *
 * The upstream's cache finds a prompt by its bytes. So the bytes of a prefix are written once, when it is stored, and are
 * only joined later. The expanded body begins with `tools`, `system` and `messages`, in the order in which the API reads
 * them. Up to a breakpoint it is equal for all requests whose own parts before that breakpoint are equal.
 */

import type { BodyMaker } from '../../claude/providers/provider.ts';
import { createUpstreamBody } from '../../claude/request/upstream-body.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import {
  createPartPlaceholder,
  createSourceId,
  lengthOf,
  type PieceSource,
  piecesOf,
} from '../../kit/http/body-pieces.ts';
import { encoder } from '../../kit/http/bytes.ts';
import { invalidRequest } from '../../kit/http/errors.ts';
import { LongBody } from '../../kit/http/long-body.ts';
import { bodySizeOf } from '../../kit/http/read-json.ts';
import { editJson, parseMemberTexts } from '../../kit/json/edit.ts';
import { isObject, type Json, removeUndefined } from '../../kit/json/object.ts';
import { toModelTool } from '../tools/edge-tools.ts';
import type { CacheTtl, PrefixFields } from './prefixes.schema.ts';

/** A version as it is stored: its system has the form in which it was sent. */
export interface PrefixContent extends Omit<PrefixFields, Part> {
  tools: Json[];
  system?: string | Json[] | undefined;
  messages: Json[];
}

/** A version as requests use it. */
export interface Prefix {
  content: PrefixContent;
  /** The JSON of each list's items with their breakpoints, joined by commas, as pieces of bytes in order. */
  pieces: Record<Part, readonly Uint8Array[]>;
  /** The same lists, parsed, for code that reads them. */
  json: Record<Part, readonly unknown[]>;
  /** The parts that have a breakpoint at their end. */
  marked: readonly Part[];
  /** The tools that the edge calls itself, each with its name and `run`, as a JSON list; undefined if it has none. */
  runs: string | undefined;
  /** The long strings that are replaced by stand-ins in `content` and `json`. */
  sources: readonly PieceSource[];
  /** Its size in memory, in bytes. */
  memorySize: number;
}

/** The three parts of a prompt that the API reads in this order. */
type Part = 'tools' | 'system' | 'messages';

interface Breakpoint {
  path: string;
  ttl: CacheTtl;
}

const PARTS: readonly Part[] = ['tools', 'system', 'messages'];
const MAX_BREAKPOINTS = 4;
/** How deep breakpoints are searched. Content that the API accepts nests at most four deep. */
const MAX_PREFIX_DEPTH = 8;
/** An estimate: parsed JSON takes at most this many times the length of its text. */
const PARSED_SIZE_FACTOR = 4;
const AUTOMATIC = '{"type":"ephemeral"}';
const UNCACHEABLE: ReadonlySet<unknown> = new Set(['thinking', 'redacted_thinking']);

/**
 * Brings a prefix into its stored form. Equal prefixes get equal text, even if their members were ordered, spaced or escaped
 * differently. Within a tool or a block the order stays, because a model reads a schema in its order.
 *
 * @throws ApiError 400 if it cannot be a prefix
 */
export function toCanonicalText(fields: PrefixFields): string {
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
  const blocks = blocksOfSystem(system);
  const own = [...findBreakpoints('tools', tools), ...findBreakpoints('system', blocks)];
  const [first] = [...own, ...findBreakpoints('messages', messages)];
  if (first) {
    throw invalidRequest(
      `${first.path}.cache_control: a prefix has none of its own: its breakpoints are placed by this edge. Say its lifetime in cache_ttl.`,
    );
  }
  if (tools.length + blocks.length + messages.length === 0) {
    throw invalidRequest('A prefix needs tools, system or messages: at least one of them that is not empty.');
  }
  const content: PrefixContent = {
    tools,
    ...removeUndefined({ system }),
    messages,
    ...removeUndefined({ model, max_tokens, fallback_models, history }),
    cache_ttl,
    ...removeUndefined({ description }),
  };
  addBreakpoints(content);
  return JSON.stringify(content);
}

export function parsePrefix(body: JsonBody): Prefix {
  const content = body.json as unknown as PrefixContent;
  const sources = body instanceof LongBody ? body.sources : [];
  const { json, marked } = addBreakpoints({
    ...content,
    tools: content.tools.map(toModelTool).filter((tool) => tool !== undefined),
  });
  const runs = content.tools.filter((tool) => Object.hasOwn(tool, 'run')).map(({ name, run }) => ({ name, run }));
  const jsonPieces = (list: readonly unknown[]) => piecesOf(JSON.stringify(list).slice(1, -1), sources);
  const pieces = {
    tools: jsonPieces(json.tools),
    system: jsonPieces(json.system),
    messages: jsonPieces(json.messages),
  };
  // Long strings stay in the stored bytes. The rest is in memory twice: as bytes and parsed.
  const bytes = sources.length > 0 ? bodySizeOf(body) : lengthOf(PARTS.flatMap((part) => pieces[part]));
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

function addBreakpoints(content: PrefixContent): Pick<Prefix, 'json' | 'marked'> {
  const { tools, messages, cache_ttl } = content;
  const system = blocksOfSystem(content.system);
  const control = { type: 'ephemeral', ...(cache_ttl === '1h' ? { ttl: '1h' } : {}) };
  const end: Part = messages.length > 0 ? 'messages' : system.length > 0 ? 'system' : 'tools';
  // A breakpoint after the tools as well: tools that a caller adds change all that follows, but the prefix's tools can
  // still be read from the cache. A tool with `defer_loading` is not in the prompt, and the API refuses a breakpoint there.
  const lastTool = tools.findLastIndex((tool) => tool.defer_loading !== true);
  const marked: Part[] = lastTool < 0 ? [] : ['tools'];
  if (end !== 'tools') marked.push(end);
  const json = {
    tools: replaceAt(tools, lastTool, (tool) => ({ ...tool, cache_control: control })),
    system: replaceAt(system, end === 'system' ? system.length - 1 : -1, (last) => ({
      ...last,
      cache_control: control,
    })),
    messages: replaceAt(messages, messages.length - 1, (last) => ({
      ...last,
      content: addContentBreakpoint(last.content, control),
    })),
  };
  return { json, marked };
}

function replaceAt(list: Json[], at: number, change: (item: Json) => Json): Json[] {
  return list.map((item, index) => (index === at ? change(item) : item));
}

function addContentBreakpoint(content: unknown, control: Json): Json[] {
  const blocks: Json[] = typeof content === 'string' ? [{ type: 'text', text: content }] : (content as Json[]);
  const at = blocks.findLastIndex(({ type, text }) => !UNCACHEABLE.has(type) && text !== '');
  if (at < 0) {
    throw invalidRequest('messages: the last message of a prefix needs content that the API can cache, such as text.');
  }
  return blocks.map((block, index) => (index === at ? { ...block, cache_control: control } : block));
}

/**
 * Puts the tools, system and messages of a prefix before those of a request. The end of the history is cached
 * automatically, unless the caller has breakpoints of their own.
 *
 * @param body its `messages` are a list
 * @param defaults members that are set if the caller has left them out; undefined sets nothing
 * @throws ApiError 400 if the caller's parts or breakpoints do not fit the prefix
 */
export function expandPrefix(
  body: JsonBody,
  prefix: Prefix,
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
    tools: readList(body.json, 'tools'),
    system: systemBlocksOf(body.json),
    messages: readList(body.json, 'messages'),
  };
  if (shouldCacheAutomatically(prefix, own, body.json.cache_control)) {
    changes.cache_control = AUTOMATIC;
    json.cache_control = { type: 'ephemeral' };
  }
  const stored: PieceSource = { id: createSourceId(), pieces: (index) => prefix.pieces[PARTS[index] ?? 'tools'] };
  const members: string[] = [];
  for (const [index, part] of PARTS.entries()) {
    const items = itemsTextOf(before.get(part), own[part]);
    const hasStored = prefix.json[part].length > 0;
    if (items === '' && !hasStored) {
      delete json[part];
      continue;
    }
    const list = [...(hasStored ? [createPartPlaceholder(stored.id, index)] : []), ...(items === '' ? [] : [items])];
    members.push(`"${part}":[${list.join(',')}]`);
    json[part] = [...prefix.json[part], ...own[part]];
  }
  const others = editJson(body.text, changes);
  const rest = others.slice(others.indexOf('{') + 1);
  const text = `{${members.join(',')}${/^\s*}/.test(rest) ? rest : `,${rest}`}`;
  // Only the caller's body may repeat keys, so that readers could differ. Stored text repeats none.
  const { readings = { text: body.text, json: body.json } } = body;
  const sources = [stored, ...prefix.sources, ...(body instanceof LongBody ? body.sources : [])];
  return new LongBody({ text, json, readings }, sources);
}

/** @throws ApiError 400 if the edge must call tools of the prefix, but there is no conversation that keeps the steps */
export function rejectRunTools({ runs }: Prefix): void {
  if (runs === undefined) return;
  throw invalidRequest(
    'prefix: it has tools with `run`, which need a conversation. Send `conversation`, with an id of your own.',
  );
}

const FILLER = { role: 'user', content: '.' };

/**
 * Writes the bodies by which the upstream counts a prefix. A prompt must end with a user's message, so one may be added.
 *
 * @returns `complete`: the prefix with what was added; `added`: only what was added, or undefined if nothing was
 */
export function createCountBodies(
  prefix: Prefix,
  model: string,
): {
  complete: BodyMaker;
  added: BodyMaker | undefined;
} {
  const endsWithUser = prefix.content.messages.at(-1)?.role === 'user';
  const request = { model, messages: endsWithUser ? [] : [FILLER] };
  const text = JSON.stringify(request);
  const whole = expandPrefix({ text, bytes: encoder.encode(text), json: request }, prefix);
  const complete: BodyMaker = (changes) => createUpstreamBody(whole, changes);
  return { complete, added: endsWithUser ? undefined : (changes) => editJson(text, changes) };
}

/** @returns the JSON text between the brackets of a list, as the caller wrote it */
function itemsTextOf(text: string | undefined, items: readonly unknown[]): string {
  if (text === undefined || items.length === 0) return '';
  return text.startsWith('"') ? `{"type":"text","text":${text}}` : text.slice(1, -1).trim();
}

function readList(json: Json, name: string): unknown[] {
  const list = json[name];
  if (list === undefined || list === null) return [];
  if (!Array.isArray(list)) throw invalidRequest(`${name}: Input should be a valid list`);
  return list;
}

function systemBlocksOf(json: Json): unknown[] {
  const { system } = json;
  return typeof system === 'string' ? blocksOfSystem(system) : readList(json, 'system');
}

function blocksOfSystem(system: PrefixContent['system'] = []): Json[] {
  if (typeof system !== 'string') return system;
  return system === '' ? [] : [{ type: 'text', text: system }];
}

/**
 * Checks all breakpoints, the prefix's included, against the API's rules.
 *
 * @returns whether to ask for automatic caching
 */
function shouldCacheAutomatically(prefix: Prefix, own: Record<Part, readonly unknown[]>, automatic: unknown): boolean {
  const { marked, content } = prefix;
  const placed: Breakpoint[] = [];
  const theirs: Breakpoint[] = [];
  for (const part of PARTS) {
    if (marked.includes(part)) placed.push({ path: `the prefix's ${part}`, ttl: content.cache_ttl });
    const found = findBreakpoints(part, own[part]);
    placed.push(...found);
    theirs.push(...found);
  }
  const none = theirs.length === 0 && !isObject(automatic);
  if (isObject(automatic)) placed.push({ path: 'cache_control', ttl: ttlOf(automatic) });
  if (placed.length > MAX_BREAKPOINTS) {
    throw invalidRequest(
      `cache_control: ${placed.length} breakpoints, and the API takes ${MAX_BREAKPOINTS}: the prefix has ${marked.length} of them, so at most ${MAX_BREAKPOINTS - marked.length} of your own fit, automatic caching included.`,
    );
  }
  const short = placed.findIndex(({ ttl }) => ttl === '5m');
  const late = placed.findIndex(({ ttl }, index) => ttl === '1h' && short >= 0 && index > short);
  if (late >= 0) {
    throw invalidRequest(
      `cache_control: the API wants breakpoints of 1h before those of 5m, but ${placed[late]?.path} (1h) comes after ${placed[short]?.path} (5m). The prefix has the lifetime ${content.cache_ttl}: use the same for yours.`,
    );
  }
  return none;
}

/**
 * Finds breakpoints in the same places as the API: on tools, on blocks, and on blocks within blocks. It does not search
 * schemas, which may have a property with the same name.
 */
function findBreakpoints(part: Part, list: readonly unknown[]): Breakpoint[] {
  const found: Breakpoint[] = [];
  for (const [index, item] of list.entries()) {
    const path = `${part}.${index}`;
    if (!isObject(item)) continue;
    if (part === 'messages') visit(item.content, `${path}.content`, 0);
    else if (part === 'system') visit(item, path, 0);
    else addBreakpoint(item, path);
  }
  return found;

  function addBreakpoint(node: Json, path: string): void {
    if (isObject(node.cache_control)) found.push({ path, ttl: ttlOf(node.cache_control) });
  }

  function visit(node: unknown, path: string, depth: number): void {
    if (depth > MAX_PREFIX_DEPTH || typeof node !== 'object' || node === null) return;
    if (Array.isArray(node)) {
      for (const [index, item] of node.entries()) visit(item, `${path}.${index}`, depth + 1);
      return;
    }
    const block = node as Json;
    if (isObject(block.source)) visit(block.source.content, `${path}.source.content`, depth + 1);
    // The API reads a nested breakpoint before that of its outer block.
    visit(block.content, `${path}.content`, depth + 1);
    addBreakpoint(block, path);
  }
}

function ttlOf(control: Json): CacheTtl {
  return control.ttl === '1h' ? '1h' : '5m';
}
