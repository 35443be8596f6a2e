/**
 * A stored beginning of a prompt, and how it is laid under a request.
 *
 * The upstream's cache finds a prompt by its bytes, so all of a prefix is written once, when it is stored, and after
 * that only joined: the expanded body begins with `tools`, `system` and `messages`, in the order in which the API reads
 * them, and up to a breakpoint it is the same for every request whose own parts before that breakpoint are the same.
 */

import { encoder } from '../http/bytes.ts';
import { invalidRequest } from '../http/errors.ts';
import type { JsonBody } from '../http/json-body.ts';
import { LongBody, type Sendable } from '../http/long-body.ts';
import { lengthOf, newId, piecesOf, type Source, standInForPart } from '../http/pieces.ts';
import { parseLong } from '../http/read-json.ts';
import { edit, memberTexts } from '../json/edit.ts';
import { isObject, type Json } from '../json/object.ts';
import { bodyUp } from '../upstream/request/body-up.ts';
import type { CacheTtl, PrefixFields } from './prefixes.schema.ts';

/** What a version holds, as it is stored: each part a list, the order of the members fixed. */
export interface PrefixContent {
  tools: Json[];
  system: Json[];
  messages: Json[];
  model?: string;
  max_tokens?: number;
  cache_ttl: CacheTtl;
  description?: string;
}

/** A version as requests use it. */
export interface Prefix {
  content: PrefixContent;
  /** The JSON of each list's items, joined by commas, with the breakpoints in them: bytes, in their order. */
  pieces: Record<Part, readonly Uint8Array[]>;
  /** The lists with the breakpoints in them, for what must be read in them. */
  json: Record<Part, readonly unknown[]>;
  /** The parts at whose end a breakpoint stands. */
  marked: readonly Part[];
  /** What the stand-ins in `content` and `json` stand for. */
  sources: readonly Source[];
  /** What it takes up in memory, in bytes. */
  held: number;
}

export type Part = 'tools' | 'system' | 'messages';

interface Breakpoint {
  path: string;
  ttl: CacheTtl;
}

const PARTS: readonly Part[] = ['tools', 'system', 'messages'];
const MOST_BREAKPOINTS = 4;
/** Content nests four deep at most in anything the API accepts. */
const DEEPEST_PREFIX = 8;
/** What JSON takes once it is parsed, at most as a rule: times its length as text. */
const PARSED_TIMES = 4;
const AUTOMATIC = '{"type":"ephemeral"}';
const UNCACHEABLE: ReadonlySet<unknown> = new Set(['thinking', 'redacted_thinking']);

/**
 * Brings what was sent into the one form that is stored: the same prefix has the same text, however its members were
 * ordered, spaced and escaped. Within a tool or a block the order stays, since a model reads a schema in its order.
 *
 * @throws ApiError 400 for what cannot be a prefix
 */
export function canonicalText(fields: PrefixFields): string {
  const { tools = [], system = [], messages = [], model, max_tokens, cache_ttl, description } = fields;
  const blocks = typeof system === 'string' ? (system === '' ? [] : [{ type: 'text', text: system }]) : system;
  const own = [...breakpointsIn('tools', tools), ...breakpointsIn('system', blocks)];
  const [first] = [...own, ...breakpointsIn('messages', messages)];
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
    system: blocks,
    messages,
    ...(model === undefined ? {} : { model }),
    ...(max_tokens === undefined ? {} : { max_tokens }),
    cache_ttl,
    ...(description === undefined ? {} : { description }),
  };
  markedLists(content);
  return JSON.stringify(content);
}

/** @returns a stored version, ready to be laid under requests. */
export function readPrefix(stored: Uint8Array): Prefix {
  const body = parseLong(stored);
  const content = body.json as unknown as PrefixContent;
  const sources = body instanceof LongBody ? body.sources : [];
  const { json, marked } = markedLists(content);
  const written = (list: readonly unknown[]) => piecesOf(JSON.stringify(list).slice(1, -1), sources);
  const pieces = { tools: written(json.tools), system: written(json.system), messages: written(json.messages) };
  // The long strings stay in the stored bytes; the rest lies here as bytes, and once more as what it was parsed to.
  const bytes = sources.length > 0 ? stored.length : lengthOf(PARTS.flatMap((part) => pieces[part]));
  return { content, pieces, json, marked, sources, held: bytes + body.text.length * PARSED_TIMES };
}

function markedLists(content: PrefixContent): Pick<Prefix, 'json' | 'marked'> {
  const { tools, system, messages, cache_ttl } = content;
  const control = { type: 'ephemeral', ...(cache_ttl === '1h' ? { ttl: '1h' } : {}) };
  const end: Part = messages.length > 0 ? 'messages' : system.length > 0 ? 'system' : 'tools';
  // Behind the tools as well: what a caller adds to them changes all that follows, but not them. What is loaded later
  // is not in the prompt, and the API takes no breakpoint there.
  const lastTool = tools.findLastIndex((tool) => tool.defer_loading !== true);
  const marked: Part[] = lastTool < 0 ? [] : ['tools'];
  if (end !== 'tools') marked.push(end);
  const json = {
    tools: changeAt(tools, lastTool, (tool) => ({ ...tool, cache_control: control })),
    system: changeAt(system, end === 'system' ? system.length - 1 : -1, (last) => ({
      ...last,
      cache_control: control,
    })),
    messages: changeAt(messages, messages.length - 1, (last) => ({
      ...last,
      content: markedContent(last.content, control),
    })),
  };
  return { json, marked };
}

function changeAt(list: Json[], at: number, change: (item: Json) => Json): Json[] {
  return list.map((item, index) => (index === at ? change(item) : item));
}

function markedContent(content: unknown, control: Json): Json[] {
  const blocks: Json[] = typeof content === 'string' ? [{ type: 'text', text: content }] : (content as Json[]);
  const at = blocks.findLastIndex(({ type, text }) => !UNCACHEABLE.has(type) && text !== '');
  if (at < 0) {
    throw invalidRequest('messages: the last message of a prefix needs content that the API can cache, such as text.');
  }
  return blocks.map((block, index) => (index === at ? { ...block, cache_control: control } : block));
}

/**
 * Lays a prefix under a request: its tools before the caller's, its system before the caller's, its messages before the
 * caller's. The end of the history is cached automatically, unless the caller has breakpoints of their own.
 *
 * @param body `messages` is a list
 * @param defaults members for a caller who has left them out; undefined is none
 * @throws ApiError 400 where the caller's parts or breakpoints do not go with the prefix
 */
export function expand(body: JsonBody, prefix: Prefix, defaults: Readonly<Record<string, unknown>> = {}): JsonBody {
  const given = memberTexts(body.text);
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
    tools: listIn(body.json, 'tools'),
    system: systemBlocksOf(body.json),
    messages: listIn(body.json, 'messages'),
  };
  if (needsAutomatic(prefix, own, body.json.cache_control)) {
    changes.cache_control = AUTOMATIC;
    json.cache_control = { type: 'ephemeral' };
  }
  const stored: Source = { id: newId(), pieces: (index) => prefix.pieces[PARTS[index] ?? 'tools'] };
  const members: string[] = [];
  for (const [index, part] of PARTS.entries()) {
    const items = itemsText(given.get(part), own[part]);
    const hasStored = prefix.json[part].length > 0;
    if (items === '' && !hasStored) {
      delete json[part];
      continue;
    }
    const list = [...(hasStored ? [standInForPart(stored.id, index)] : []), ...(items === '' ? [] : [items])];
    members.push(`"${part}":[${list.join(',')}]`);
    json[part] = [...prefix.json[part], ...own[part]];
  }
  const others = edit(body.text, changes);
  const rest = others.slice(others.indexOf('{') + 1);
  const text = `{${members.join(',')}${/^\s*}/.test(rest) ? rest : `,${rest}`}`;
  // What is stored repeats no key.
  const { readings = { text: body.text, json: body.json } } = body;
  const sources = [stored, ...prefix.sources, ...(body instanceof LongBody ? body.sources : [])];
  return new LongBody({ text, json, readings }, sources);
}

const FILLER = { role: 'user', content: '.' };

/**
 * @returns the bodies by which the upstream counts a prefix: all of it, and what had to be added to it, since a prompt
 * needs a message of the user's at its end; undefined where it has one
 */
export function countBodies(prefix: Prefix, model: string): { whole: Sendable; added: string | undefined } {
  const complete = prefix.content.messages.at(-1)?.role === 'user';
  const asked = { model, messages: complete ? [] : [FILLER] };
  const text = JSON.stringify(asked);
  const whole = bodyUp(expand({ text, bytes: encoder.encode(text), json: asked }, prefix), {});
  return { whole, added: complete ? undefined : text };
}

/** @returns the JSON text of what a list holds, as the caller wrote it. */
function itemsText(text: string | undefined, items: readonly unknown[]): string {
  if (text === undefined || items.length === 0) return '';
  return text.startsWith('"') ? `{"type":"text","text":${text}}` : text.slice(1, -1).trim();
}

function listIn(json: Json, name: string): unknown[] {
  const list = json[name];
  if (list === undefined || list === null) return [];
  if (!Array.isArray(list)) throw invalidRequest(`${name}: Input should be a valid list`);
  return list;
}

function systemBlocksOf(json: Json): unknown[] {
  const { system } = json;
  if (typeof system !== 'string') return listIn(json, 'system');
  return system === '' ? [] : [{ type: 'text', text: system }];
}

/**
 * Holds all breakpoints of the request to the API's rules, the prefix's included.
 *
 * @returns whether automatic caching is to be asked for
 */
function needsAutomatic(prefix: Prefix, own: Record<Part, readonly unknown[]>, automatic: unknown): boolean {
  const { marked, content } = prefix;
  const placed: Breakpoint[] = [];
  const theirs: Breakpoint[] = [];
  for (const part of PARTS) {
    if (marked.includes(part)) placed.push({ path: `the prefix's ${part}`, ttl: content.cache_ttl });
    const found = breakpointsIn(part, own[part]);
    placed.push(...found);
    theirs.push(...found);
  }
  const none = theirs.length === 0 && !isObject(automatic);
  if (isObject(automatic)) placed.push({ path: 'cache_control', ttl: ttlOf(automatic) });
  if (placed.length > MOST_BREAKPOINTS) {
    throw invalidRequest(
      `cache_control: ${placed.length} breakpoints, and the API takes ${MOST_BREAKPOINTS}: the prefix has ${marked.length} of them, so at most ${MOST_BREAKPOINTS - marked.length} of your own fit, automatic caching included.`,
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

/** Looks where the API looks: on tools, on blocks, and on blocks within them. A schema may name a property as it likes. */
function breakpointsIn(part: Part, list: readonly unknown[]): Breakpoint[] {
  const found: Breakpoint[] = [];
  for (const [index, item] of list.entries()) {
    const path = `${part}.${index}`;
    if (!isObject(item)) continue;
    if (part === 'messages') look(item.content, `${path}.content`, 0);
    else if (part === 'system') look(item, path, 0);
    else note(item, path);
  }
  return found;

  function note(node: Json, path: string): void {
    if (isObject(node.cache_control)) found.push({ path, ttl: ttlOf(node.cache_control) });
  }

  function look(node: unknown, path: string, depth: number): void {
    if (depth > DEEPEST_PREFIX || typeof node !== 'object' || node === null) return;
    if (Array.isArray(node)) {
      for (const [index, item] of node.entries()) look(item, `${path}.${index}`, depth + 1);
      return;
    }
    const block = node as Json;
    if (isObject(block.source)) look(block.source.content, `${path}.source.content`, depth + 1);
    // A nested breakpoint is read before that of the block around it.
    look(block.content, `${path}.content`, depth + 1);
    note(block, path);
  }
}

function ttlOf(control: Json): CacheTtl {
  return control.ttl === '1h' ? '1h' : '5m';
}
