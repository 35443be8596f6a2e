import { cacheLifetime } from '../request/content-blocks.ts';
import { imageSize } from '../request/image-size.ts';
import { isObject, type Json, type JsonObject, member, objectsIn } from '../request/json.ts';
import type { CacheLifetime, Prompt } from '../request/message-request.ts';
import { countTokens } from '../text/tokens.ts';

/** One block of a prompt, in the order in which the API reads it: tools, system, messages. */
export interface PromptBlock {
  /** Where it stands, as the API writes it. */
  path: string;
  /** What the cache tells it by: everything that is in it but the `cache_control`. */
  bytes: string;
  tokens: number;
  /** The lifetime of the cache breakpoint behind this block, where there is one. */
  breakpoint: CacheLifetime | undefined;
  /** How many `cache_control`s it has, those on blocks within it included. */
  breakpoints: number;
  /** Whether automatic caching may put its breakpoint here. */
  cacheable: boolean;
}

const tokensPerRequest = 3;
const tokensPerMessage = 4;
/** The API tells the model how to use tools, once. */
const tokensForTools = 340;
const tokensPerTool = 8;
const tokensForOutputSchema = 60;
/** An image whose size cannot be known, and the most that any image takes. */
const tokensOfLargestImage = 1600;
const tokensPerPage = 1800;

/** What an image of that size takes, in tokens: the API scales down what is larger than 1,568 pixels on its long edge. */
export function imageTokens(width: number, height: number): number {
  const scale = Math.min(1, 1568 / Math.max(width, height, 1));
  return Math.min(tokensOfLargestImage, Math.max(1, Math.ceil((width * scale * height * scale) / 750)));
}

/** How many pages a base64 PDF seems to have: at least one, since compressed ones hide theirs. */
export function pdfPages(base64: string): number {
  let pages = 0;
  for (const _ of atob(base64).matchAll(/\/Type\s*\/Page(?![a-zA-Z])/g)) pages++;
  return Math.max(1, pages);
}

function textTokens(value: Json | undefined): number {
  return typeof value === 'string' ? countTokens(value) : 0;
}

function contentTokens(content: Json | undefined): number {
  return textTokens(content) + objectsIn(content).reduce((sum, block) => sum + blockTokens(block), 0);
}

function imageBlockTokens(block: JsonObject): number {
  const source = member(block, 'source');
  const data = isObject(source) ? member(source, 'data') : undefined;
  const size = typeof data === 'string' ? imageSize(data) : undefined;
  return size === undefined ? tokensOfLargestImage : imageTokens(size.width, size.height);
}

function documentTokens(block: JsonObject): number {
  const source = member(block, 'source');
  const heading = textTokens(member(block, 'title')) + textTokens(member(block, 'context'));
  if (!isObject(source)) return heading;
  const type = member(source, 'type');
  const data = member(source, 'data');
  if (type === 'base64' && typeof data === 'string') return heading + pdfPages(data) * tokensPerPage;
  if (type === 'text') return heading + textTokens(data);
  if (type === 'content') return heading + contentTokens(member(source, 'content'));
  return heading + tokensPerPage;
}

/** What a content block takes, in tokens. Text never takes more than its UTF-8 bytes, an unknown block no more than its JSON. */
function blockTokens(block: JsonObject): number {
  switch (member(block, 'type')) {
    case 'text':
      return textTokens(member(block, 'text'));
    case 'image':
      return imageBlockTokens(block);
    case 'document':
      return documentTokens(block);
    case 'search_result': {
      const heading = textTokens(member(block, 'title')) + textTokens(member(block, 'source'));
      return heading + contentTokens(member(block, 'content'));
    }
    case 'thinking':
      return textTokens(member(block, 'thinking'));
    case 'redacted_thinking':
      return textTokens(member(block, 'data'));
    case 'tool_use':
    case 'server_tool_use':
      return textTokens(member(block, 'name')) + countTokens(JSON.stringify(member(block, 'input') ?? {}));
    case 'tool_result':
      return contentTokens(member(block, 'content'));
    default:
      return countTokens(JSON.stringify(block));
  }
}

function breakpointOf(block: JsonObject, path: string): CacheLifetime | undefined {
  return cacheLifetime(member(block, 'cache_control'), `${path}.cache_control`);
}

/** A block as the cache knows it. A breakpoint that moves on with the conversation must leave no trace in what it was on. */
function withoutCacheControl(block: JsonObject): { block: JsonObject; nested: CacheLifetime[] } {
  const nested: CacheLifetime[] = [];
  const { cache_control: _, ...rest } = block;
  const content = member(rest, 'content');
  if (!Array.isArray(content)) return { block: rest, nested };
  const inner = content.map((entry) => {
    if (!isObject(entry)) return entry;
    const lifetime = breakpointOf(entry, 'content');
    if (lifetime !== undefined) nested.push(lifetime);
    const { cache_control: _, ...remaining } = entry;
    return remaining;
  });
  return { block: { ...rest, content: inner }, nested };
}

function promptBlock(kind: string, block: JsonObject, path: string, tokens: number): PromptBlock {
  const stripped = withoutCacheControl(block);
  const own = breakpointOf(block, path);
  const type = member(block, 'type');
  return {
    path,
    bytes: `${kind}:${JSON.stringify(stripped.block)}`,
    tokens,
    breakpoint: own ?? stripped.nested.at(-1),
    breakpoints: stripped.nested.length + (own === undefined ? 0 : 1),
    cacheable: type !== 'thinking' && type !== 'redacted_thinking',
  };
}

function plainBlock(bytes: string, path: string, tokens: number): PromptBlock {
  return { path, bytes, tokens, breakpoint: undefined, breakpoints: 0, cacheable: false };
}

function schemaBlock(schema: JsonObject): PromptBlock {
  const bytes = JSON.stringify(schema);
  return plainBlock(`output:${bytes}`, 'output_config.format', countTokens(bytes) + tokensForOutputSchema);
}

/** The blocks of a prompt; their tokens together are what `count_tokens` answers. */
export function promptBlocks(prompt: Prompt): PromptBlock[] {
  const blocks: PromptBlock[] = prompt.tools.map((tool, index) => {
    const { cache_control: _, ...definition } = tool;
    const overhead = tokensPerTool + (index === 0 ? tokensForTools : 0);
    return promptBlock('tool', tool, `tools.${index}`, countTokens(JSON.stringify(definition)) + overhead);
  });
  if (prompt.outputSchema !== undefined) blocks.push(schemaBlock(prompt.outputSchema));
  for (const [index, block] of prompt.system.entries()) {
    blocks.push(promptBlock('system', block, `system.${index}`, textTokens(member(block, 'text'))));
  }
  for (const [index, message] of prompt.messages.entries()) {
    const path = `messages.${index}`;
    if (message.blocks.length === 0) blocks.push(plainBlock(`${message.role}:`, path, tokensPerMessage));
    for (const [place, block] of message.blocks.entries()) {
      const tokens = blockTokens(block) + (place === 0 ? tokensPerMessage : 0);
      blocks.push(promptBlock(message.role, block, `${path}.content.${place}`, tokens));
    }
  }
  const [first] = blocks;
  if (first !== undefined) first.tokens += tokensPerRequest;
  return blocks;
}

/** What a prompt takes in all, in tokens. */
export function promptTokens(blocks: readonly PromptBlock[]): number {
  return blocks.reduce((sum, block) => sum + block.tokens, 0);
}
