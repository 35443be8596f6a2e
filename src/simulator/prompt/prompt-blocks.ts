import { thoughtTokens } from '../random/signatures.ts';
import { cacheLifetime } from '../request/content-blocks.ts';
import { sizeOfImage } from '../request/image-size.ts';
import { isObject, type Json, type JsonObject, objectsIn } from '../request/json.ts';
import type { CacheLifetime, Prompt } from '../request/message-request.ts';
import { countTokens } from '../text/tokens.ts';

/** One block of a prompt, in the order in which the API reads it: tools, system, messages. */
export interface PromptBlock {
  /** Its path, as the API writes it. */
  path: string;
  /** The bytes by which the cache compares it: everything but its `cache_control`. */
  bytes: string;
  tokens: number;
  breakpoint: CacheLifetime | undefined;
  /** How many `cache_control`s it has, those on blocks within it included. */
  breakpoints: number;
  /** Whether automatic caching may put its breakpoint here. */
  cacheable: boolean;
}

const TOKENS_PER_REQUEST = 3;
const TOKENS_PER_MESSAGE = 4;
/** The API tells the model how to use tools, once. */
const TOKENS_FOR_TOOLS = 340;
const TOKENS_PER_TOOL = 8;
const TOKENS_FOR_OUTPUT_SCHEMA = 60;
const TOKENS_PER_PAGE = 1800;

/** Of images: the longest side in pixels, and the most tokens. */
type ImageLimits = NonNullable<Prompt['model']['image']>;
const NEWEST_IMAGES: ImageLimits = [2_576, 4_784];
const PIXELS_PER_TOKEN = 28;

/** @returns the tokens of an image: of the largest, if its size cannot be known. The API scales it down to both limits */
function imageTokens(block: JsonObject, [longest, most]: ImageLimits): number {
  const size = sizeOfImage(block);
  if (size === undefined) return most;
  let scale = Math.min(1, longest / Math.max(size.width, size.height, 1));
  const tokens = () => {
    const [across, down] = [size.width, size.height].map((side) => Math.ceil((side * scale) / PIXELS_PER_TOKEN) || 1);
    return (across ?? 1) * (down ?? 1);
  };
  while (tokens() > most) scale *= 0.99;
  return tokens();
}

/** @returns how many pages a base64 PDF seems to have: at least one, because compressed PDFs hide theirs */
export function pdfPages(base64: string): number {
  let pages = 0;
  for (const _ of atob(base64).matchAll(/\/Type\s*\/Page(?![a-zA-Z])/g)) pages++;
  return Math.max(1, pages);
}

function textTokens(value: Json | undefined): number {
  return typeof value === 'string' ? countTokens(value) : 0;
}

function contentTokens(content: Json | undefined, images: ImageLimits): number {
  return textTokens(content) + objectsIn(content).reduce((sum, block) => sum + blockTokens(block, images), 0);
}

function documentTokens({ source, title, context }: JsonObject, images: ImageLimits): number {
  const heading = textTokens(title) + textTokens(context);
  if (!isObject(source)) return heading;
  const { type, data } = source;
  if (type === 'base64' && typeof data === 'string') return heading + pdfPages(data) * TOKENS_PER_PAGE;
  if (type === 'text') return heading + textTokens(data);
  if (type === 'content') return heading + contentTokens(source.content, images);
  return heading + TOKENS_PER_PAGE;
}

/** @returns the tokens of a content block: of text at most its UTF-8 bytes, of an unknown block at most those of its JSON */
function blockTokens(block: JsonObject, images: ImageLimits): number {
  switch (block.type) {
    case 'text':
      return textTokens(block.text);
    case 'image':
      return imageTokens(block, images);
    case 'document':
      return documentTokens(block, images);
    case 'search_result': {
      const heading = textTokens(block.title) + textTokens(block.source);
      return heading + contentTokens(block.content, images);
    }
    case 'thinking':
      return thoughtTokens(block) ?? textTokens(block.thinking);
    case 'compaction':
      return textTokens(block.content);
    case 'redacted_thinking':
      return thoughtTokens(block) ?? textTokens(block.data);
    case 'tool_use':
    case 'server_tool_use':
      return textTokens(block.name) + countTokens(JSON.stringify(block.input ?? {}));
    case 'tool_result':
      return contentTokens(block.content, images);
    default:
      return countTokens(JSON.stringify(block));
  }
}

/** @returns a block as the cache compares it: without breakpoints, which move on with the conversation */
function withoutCacheControl(block: JsonObject): { block: JsonObject; nested: CacheLifetime[] } {
  const nested: CacheLifetime[] = [];
  const { cache_control: _, ...rest } = block;
  const content = rest.content;
  if (!Array.isArray(content)) return { block: rest, nested };
  const inner = content.map((entry) => {
    if (!isObject(entry)) return entry;
    const lifetime = cacheLifetime(entry.cache_control, 'content.cache_control');
    if (lifetime !== undefined) nested.push(lifetime);
    const { cache_control: _, ...remaining } = entry;
    return remaining;
  });
  return { block: { ...rest, content: inner }, nested };
}

function promptBlock(kind: string, block: JsonObject, path: string, tokens: number): PromptBlock {
  const stripped = withoutCacheControl(block);
  const own = cacheLifetime(block.cache_control, `${path}.cache_control`);
  const type = block.type;
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

/** @returns the blocks of a prompt; the sum of their tokens is the answer of `count_tokens` */
export function promptBlocks(prompt: Prompt): PromptBlock[] {
  const blocks: PromptBlock[] = prompt.tools.map((tool, index) => {
    const { cache_control: _, ...definition } = tool;
    const overhead = TOKENS_PER_TOOL + (index === 0 ? TOKENS_FOR_TOOLS : 0);
    return promptBlock('tool', tool, `tools.${index}`, countTokens(JSON.stringify(definition)) + overhead);
  });
  if (prompt.outputSchema !== undefined) {
    const bytes = JSON.stringify(prompt.outputSchema);
    const tokens = countTokens(bytes) + TOKENS_FOR_OUTPUT_SCHEMA;
    blocks.push(plainBlock(`output:${bytes}`, 'output_config.format', tokens));
  }
  for (const [index, block] of prompt.system.entries()) {
    blocks.push(promptBlock('system', block, `system.${index}`, textTokens(block.text)));
  }
  for (const [index, message] of prompt.messages.entries()) {
    const path = `messages.${index}`;
    if (message.blocks.length === 0) blocks.push(plainBlock(`${message.role}:`, path, TOKENS_PER_MESSAGE));
    for (const [at, block] of message.blocks.entries()) {
      const tokens = blockTokens(block, prompt.model.image ?? NEWEST_IMAGES) + (at === 0 ? TOKENS_PER_MESSAGE : 0);
      blocks.push(promptBlock(message.role, block, `${path}.content.${at}`, tokens));
    }
  }
  const [first] = blocks;
  if (first !== undefined) first.tokens += TOKENS_PER_REQUEST;
  return blocks;
}

/** @returns the sum of the tokens of a prompt */
export function promptTokens(blocks: readonly PromptBlock[]): number {
  return blocks.reduce((sum, block) => sum + block.tokens, 0);
}
