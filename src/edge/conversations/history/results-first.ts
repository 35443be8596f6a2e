/** Puts the tool results of a user's message in the order that the API accepts: first of all, in the order of their calls. */

import { listAnsweredCallIds } from './replayable-blocks.ts';

/** @returns the content with its results first; the same content if they are */
export function moveResultsFirst(content: readonly unknown[], called: readonly string[]): readonly unknown[] {
  if (listAnsweredCallIds(content).length === 0) return content;
  const places = new Map(called.map((id, place) => [id, place]));
  // Sort the result of an unknown call after the other results, but before other content, so that the check of the message
  // reports it as a result without a call.
  const getResultPosition = (block: unknown) => {
    const [id] = listAnsweredCallIds([block]);
    return id === undefined ? places.size + 1 : (places.get(id) ?? places.size);
  };
  const ordered = content.toSorted((one, other) => getResultPosition(one) - getResultPosition(other));
  return ordered.every((block, index) => block === content[index]) ? content : ordered;
}

/** @returns whether a content needs no other order */
export function areResultsFirst(content: unknown, called: readonly string[]): boolean {
  return !Array.isArray(content) || moveResultsFirst(content, called) === content;
}
