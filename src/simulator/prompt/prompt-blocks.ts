import { filterObjects, isJsonObject, type Json, type JsonObject } from '../../api-rules/json.ts';
import { countThinkingTokens } from '../random/signatures.ts';
import { parseCacheControlLifetime } from '../request/content-blocks.ts';
import { readImageBlockSize } from '../request/image-size.ts';
import type { CacheLifetime, ValidatedPrompt } from '../request/message-request.ts';
import { countPdfPages } from '../request/pdf-pages.ts';
import { estimateTokenCount } from '../text/tokens.ts';

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
  isCacheable: boolean;
}

const TOKENS_PER_REQUEST = 3;
const TOKENS_PER_MESSAGE = 4;
/** If a request has tools, the API adds a description of their use to the prompt. The number is an estimate. */
const TOKENS_FOR_TOOLS = 340;
const TOKENS_PER_TOOL = 8;
const TOKENS_FOR_OUTPUT_SCHEMA = 60;
const TOKENS_PER_PAGE = 1800;

/**
 * The limits of images: the longest side in pixels, and the maximum of tokens. See
 * https://platform.claude.com/docs/en/build-with-claude/vision.md
 */
type ImageLimits = NonNullable<ValidatedPrompt['model']['image']>;
const NEWEST_IMAGE_LIMITS: ImageLimits = [2_576, 4_784];
const PIXELS_PER_TOKEN = 28;

/** @returns the tokens of an image: of the largest, if its size cannot be known. The API scales it down to both limits */
function countImageTokens(block: JsonObject, [longest, most]: ImageLimits): number {
  const size = readImageBlockSize(block);
  if (size === undefined) return most;
  let scale = Math.min(1, longest / Math.max(size.width, size.height, 1));
  const computeTokens = () => {
    const [across, down] = [size.width, size.height].map((side) => Math.ceil((side * scale) / PIXELS_PER_TOKEN) || 1);
    return (across ?? 1) * (down ?? 1);
  };
  while (computeTokens() > most) scale *= 0.99;
  return computeTokens();
}

function countJsonTokens(value: Json | undefined): number {
  return typeof value === 'string' ? estimateTokenCount(value) : 0;
}

function countContentTokens(content: Json | undefined, images: ImageLimits): number {
  return (
    countJsonTokens(content) + filterObjects(content).reduce((sum, block) => sum + countBlockTokens(block, images), 0)
  );
}

function countDocumentTokens({ source, title, context }: JsonObject, images: ImageLimits): number {
  const heading = countJsonTokens(title) + countJsonTokens(context);
  if (!isJsonObject(source)) return heading;
  const { type, data } = source;
  if (type === 'base64' && typeof data === 'string') return heading + countPdfPages(data) * TOKENS_PER_PAGE;
  if (type === 'text') return heading + countJsonTokens(data);
  if (type === 'content') return heading + countContentTokens(source.content, images);
  return heading + TOKENS_PER_PAGE;
}

/** @returns the tokens of a content block: of text at most its UTF-8 bytes, of an unknown block at most those of its JSON */
function countBlockTokens(block: JsonObject, images: ImageLimits): number {
  switch (block.type) {
    case 'text':
      return countJsonTokens(block.text);
    case 'image':
      return countImageTokens(block, images);
    case 'document':
      return countDocumentTokens(block, images);
    case 'search_result': {
      const heading = countJsonTokens(block.title) + countJsonTokens(block.source);
      return heading + countContentTokens(block.content, images);
    }
    case 'thinking':
      return countThinkingTokens(block) ?? countJsonTokens(block.thinking);
    case 'compaction':
      return countJsonTokens(block.content);
    case 'redacted_thinking':
      return countThinkingTokens(block) ?? countJsonTokens(block.data);
    case 'tool_use':
    case 'server_tool_use':
      return countJsonTokens(block.name) + estimateTokenCount(JSON.stringify(block.input ?? {}));
    case 'tool_result':
      return countContentTokens(block.content, images);
    default:
      return estimateTokenCount(JSON.stringify(block));
  }
}

/** @returns a block as the cache compares it: without breakpoints, which move on with the conversation */
function removeCacheControl(block: JsonObject): { block: JsonObject; nested: CacheLifetime[] } {
  const nested: CacheLifetime[] = [];
  const { cache_control: _, ...rest } = block;
  const content = rest.content;
  if (!Array.isArray(content)) return { block: rest, nested };
  const inner = content.map((entry) => {
    if (!isJsonObject(entry)) return entry;
    const lifetime = parseCacheControlLifetime(entry.cache_control, 'content.cache_control');
    if (lifetime !== undefined) nested.push(lifetime);
    const { cache_control: _, ...remaining } = entry;
    return remaining;
  });
  return { block: { ...rest, content: inner }, nested };
}

function createPromptBlock(kind: string, block: JsonObject, path: string, tokens: number): PromptBlock {
  const stripped = removeCacheControl(block);
  const own = parseCacheControlLifetime(block.cache_control, `${path}.cache_control`);
  const type = block.type;
  return {
    path,
    bytes: `${kind}:${JSON.stringify(stripped.block)}`,
    tokens,
    breakpoint: own ?? stripped.nested.at(-1),
    breakpoints: stripped.nested.length + (own === undefined ? 0 : 1),
    isCacheable: type !== 'thinking' && type !== 'redacted_thinking',
  };
}

function createUncacheableBlock(bytes: string, path: string, tokens: number): PromptBlock {
  return { path, bytes, tokens, breakpoint: undefined, breakpoints: 0, isCacheable: false };
}

/** @returns the blocks of a prompt; the sum of their tokens is the answer of `count_tokens` */
export function createPromptBlocks(prompt: ValidatedPrompt): PromptBlock[] {
  const blocks: PromptBlock[] = prompt.tools.map((tool, index) => {
    const { cache_control: _, ...definition } = tool;
    const overhead = TOKENS_PER_TOOL + (index === 0 ? TOKENS_FOR_TOOLS : 0);
    return createPromptBlock('tool', tool, `tools.${index}`, estimateTokenCount(JSON.stringify(definition)) + overhead);
  });
  if (prompt.outputSchema !== undefined) {
    const bytes = JSON.stringify(prompt.outputSchema);
    const tokens = estimateTokenCount(bytes) + TOKENS_FOR_OUTPUT_SCHEMA;
    blocks.push(createUncacheableBlock(`output:${bytes}`, 'output_config.format', tokens));
  }
  for (const [index, block] of prompt.system.entries()) {
    blocks.push(createPromptBlock('system', block, `system.${index}`, countJsonTokens(block.text)));
  }
  for (const [index, message] of prompt.messages.entries()) {
    const path = `messages.${index}`;
    if (message.blocks.length === 0) blocks.push(createUncacheableBlock(`${message.role}:`, path, TOKENS_PER_MESSAGE));
    for (const [at, block] of message.blocks.entries()) {
      const tokens =
        countBlockTokens(block, prompt.model.image ?? NEWEST_IMAGE_LIMITS) + (at === 0 ? TOKENS_PER_MESSAGE : 0);
      blocks.push(createPromptBlock(message.role, block, `${path}.content.${at}`, tokens));
    }
  }
  const [first] = blocks;
  if (first !== undefined) first.tokens += TOKENS_PER_REQUEST;
  return blocks;
}

/** @returns the sum of the tokens of a prompt */
export function sumPromptTokens(blocks: readonly PromptBlock[]): number {
  return blocks.reduce((sum, block) => sum + block.tokens, 0);
}
