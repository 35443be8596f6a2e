import { useSignal } from '@preact/signals';
import type { RefObject } from 'preact';
import { useCallback, useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import type { TranscriptEntry } from './session/entries.ts';

/** The maximum of a batch that is rendered at once: it keeps the page's thread busy for about 50 ms. */
const MESSAGES_PER_BATCH = 12;
const CHARACTERS_PER_BATCH = 12_000;

/**
 * Shows the newest messages at once, and older ones above them whenever the page is idle, or the user scrolls to them. What is
 * in view stays where it is.
 *
 * @param column the messages, of which the first is the oldest that is shown
 * @returns the entries to show, and what to call when the view is scrolled
 */
export function useProgressiveMessages(
  entries: readonly TranscriptEntry[],
  scroller: RefObject<HTMLElement | null>,
  column: RefObject<HTMLElement | null>,
): { shown: readonly TranscriptEntry[]; onScroll(): void } {
  // Begin at infinity, so that at first only the last batch of messages is shown. Which messages are the last is known only
  // after loading.
  const first = useSignal(Number.POSITIVE_INFINITY);
  const from = Math.min(first.value, findRenderBatchStart(entries, entries.length));
  const inView = useRef<{ element: Element; top: number } | undefined>(undefined);
  const showOlder = useCallback(() => {
    const element = column.current?.firstElementChild;
    if (element) inView.current = { element, top: element.getBoundingClientRect().top };
    first.value = findRenderBatchStart(entries, from);
  }, [entries, from, column, first]);
  useLayoutEffect(() => {
    if (entries.length > 0 && first.peek() > from) first.value = from;
    const { element, top } = inView.current ?? {};
    inView.current = undefined;
    // Correct the scroll position after older messages were inserted above: not all browsers do it, and none does at the very
    // top.
    if (element && scroller.current) scroller.current.scrollTop += element.getBoundingClientRect().top - (top ?? 0);
  }, [from, entries.length, first, scroller]);
  useEffect(() => (from > 0 ? runWhenIdle(showOlder) : undefined), [from, showOlder]);
  const onScroll = () => {
    const view = scroller.current;
    if (from > 0 && view && view.scrollTop < view.clientHeight) showOlder();
  };
  return { shown: from > 0 ? entries.slice(from) : entries, onScroll };
}

/** @returns the first of the entries before another one that are shown in one go */
function findRenderBatchStart(entries: readonly TranscriptEntry[], until: number): number {
  let begin = until;
  for (let characters = 0; begin > 0 && until - begin < MESSAGES_PER_BATCH && characters < CHARACTERS_PER_BATCH; ) {
    begin -= 1;
    for (const { text } of entries[begin]?.parts ?? []) characters += typeof text === 'string' ? text.length : 0;
  }
  return begin;
}

/** @returns what stops it from being called */
function runWhenIdle(act: () => void): () => void {
  // Use a timer in Safari, which does not support `requestIdleCallback`.
  if (!('requestIdleCallback' in globalThis)) {
    const timer = setTimeout(act, 30);
    return () => clearTimeout(timer);
  }
  const callback = requestIdleCallback(act, { timeout: 500 });
  return () => cancelIdleCallback(callback);
}
