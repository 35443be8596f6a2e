/**
 * Decides which whole answers ride: they go up as streams, so that less is booked for what is interrupted, and are put together
 * here.
 */

import { getOrMake } from '../cache/get-or-make.ts';
import { isObject } from '../json/object.ts';
import type { UpstreamVerdict } from './judge.ts';
import type { BodyChanges } from './kinds/kind.ts';

/** What changes in the body of an answer that rides. */
export const AS_STREAM: BodyChanges = { stream: 'true' };

/** With this beta the input of a tool may come as something that is not JSON. A whole answer cannot have it. */
const LOOSE_INPUT = /\bfine-grained-tool-streaming-/;

/** The upstreams, by name, that have refused a stream and answered the same request whole. Each isolate finds out by itself. */
const onlyWhole = new WeakMap<object, Set<string>>();

/** @returns whether the answer to a request is the same, whether it comes as a stream or whole. */
export function isSameAsStream(
  { tools }: Readonly<Record<string, unknown>>,
  headers: Headers | Readonly<Record<string, string>>,
): boolean {
  const betas = headers instanceof Headers ? headers.get('anthropic-beta') : headers['anthropic-beta'];
  if (LOOSE_INPUT.test(betas ?? '')) return false;
  return !Array.isArray(tools) || !tools.some((tool) => isObject(tool) && Boolean(tool.eager_input_streaming));
}

/** @returns whether an upstream takes streams, as far as this isolate knows. @param owner the pool, or the only upstream */
export function ridesAt(owner: object, name = ''): boolean {
  return onlyWhole.get(owner)?.has(name) !== true;
}

/** Notes that an upstream does not take streams. */
export function noteOnlyWhole(owner: object, name = ''): void {
  getOrMake(onlyWhole, owner, () => new Set<string>()).add(name);
}

/**
 * @returns whether an upstream has refused a request only because it rides: it speaks of streams, for which the caller has not
 *   asked, and bills nothing
 */
export function isStreamRefusal({ kind, mayHaveRun }: UpstreamVerdict, text: string): boolean {
  return kind === 'request' && !mayHaveRun && /stream/i.test(text);
}
