/** Finds the cache breakpoints of a prompt, and chooses the lifetimes of those that Sluice adds. */

import { isObject, type JsonObject } from '../../kit/json/object.ts';

/** The three parts of a prompt, in the order in which the API reads them. Automatic caching comes after them. */
export const PROMPT_PARTS = ['tools', 'system', 'messages'] as const;
export type PromptPart = (typeof PROMPT_PARTS)[number];

/** How long the upstream caches what precedes a breakpoint. */
export type CacheLifetime = '5m' | '1h';

/** The most cache breakpoints of a request: https://platform.claude.com/docs/en/build-with-claude/prompt-caching */
export const MAX_BREAKPOINTS = 4;
/** How deep breakpoints are searched. Content that the API accepts nests at most four deep. */
const MAX_BREAKPOINT_DEPTH = 8;

interface LocatedBreakpoint {
  path: string;
  ttl: CacheLifetime;
}

/** The lifetimes of a caller's breakpoints by the part of the prompt, in the order of the API. */
export type CallerLifetimes = Readonly<Record<PromptPart | 'automatic', readonly CacheLifetime[]>>;

/** @returns the lifetimes of the breakpoints in a caller's own parts and its member `cache_control` */
export function listCallerLifetimes(
  own: Readonly<Record<PromptPart, readonly unknown[]>>,
  automatic: unknown,
): CallerLifetimes {
  const listLifetimesOfPart = (part: PromptPart) => findBreakpoints(part, own[part]).map(({ ttl }) => ttl);
  return {
    tools: listLifetimesOfPart('tools'),
    system: listLifetimesOfPart('system'),
    messages: listLifetimesOfPart('messages'),
    automatic: isObject(automatic) ? [getCacheLifetime(automatic)] : [],
  };
}

/**
 * Chooses the lifetime of a breakpoint that Sluice adds at the beginning of a part. The API rejects a lifetime of `1h` after one
 * of `5m`, so the breakpoint takes `1h` if the caller has one of `1h` after it, and `5m` if the caller has one of `5m` before it.
 *
 * @param part the part whose own breakpoints of the caller come after it
 * @param wanted the lifetime if the caller has no such breakpoint
 */
export function chooseCacheLifetime(
  part: PromptPart | 'automatic',
  wanted: CacheLifetime,
  callers: CallerLifetimes,
): CacheLifetime {
  const order = [...PROMPT_PARTS, 'automatic'] as const;
  const at = order.indexOf(part);
  if (order.slice(0, at).some((one) => callers[one].includes('5m'))) return '5m';
  return order.slice(at).some((one) => callers[one].includes('1h')) ? '1h' : wanted;
}

/** @returns the member `cache_control` of a breakpoint */
export function createCacheControl(ttl: CacheLifetime): JsonObject {
  return { type: 'ephemeral', ...(ttl === '1h' && { ttl }) };
}

/**
 * Finds breakpoints in the same places as the API: on tools, on blocks, and on blocks within blocks. It does not search
 * schemas, which may have a property with the same name.
 */
export function findBreakpoints(part: PromptPart, list: readonly unknown[]): LocatedBreakpoint[] {
  const found: LocatedBreakpoint[] = [];
  for (const [index, item] of list.entries()) {
    const path = `${part}.${index}`;
    if (!isObject(item)) continue;
    if (part === 'messages') visitNode(item.content, `${path}.content`, 0);
    else if (part === 'system') visitNode(item, path, 0);
    else addBreakpoint(item, path);
  }
  return found;

  function addBreakpoint(node: JsonObject, path: string): void {
    if (isObject(node.cache_control)) found.push({ path, ttl: getCacheLifetime(node.cache_control) });
  }

  function visitNode(node: unknown, path: string, depth: number): void {
    if (depth > MAX_BREAKPOINT_DEPTH || typeof node !== 'object' || node === null) return;
    if (Array.isArray(node)) {
      for (const [index, item] of node.entries()) visitNode(item, `${path}.${index}`, depth + 1);
      return;
    }
    const block = node as JsonObject;
    if (isObject(block.source)) visitNode(block.source.content, `${path}.source.content`, depth + 1);
    // The API counts a nested breakpoint before that of its outer block, so visit the content first.
    visitNode(block.content, `${path}.content`, depth + 1);
    addBreakpoint(block, path);
  }
}

function getCacheLifetime(control: JsonObject): CacheLifetime {
  return control.ttl === '1h' ? '1h' : '5m';
}
