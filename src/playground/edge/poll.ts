import type { Signal } from '@preact/signals';
import { sentenceOf } from './client.ts';

/**
 * Asks at once, and again after each answer, while the page is visible.
 *
 * @param ask `isCurrent` says whether its answer is still wanted
 * @param everyMs the pause between an answer and the next question, in milliseconds
 * @param fault gets why the last question has failed; without it `ask` must not reject
 * @returns what stops it
 */
export function poll(
  ask: (isCurrent: () => boolean) => Promise<unknown>,
  everyMs: number | (() => number),
  fault?: Signal<string | undefined>,
): () => void {
  let stopped = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const round = async () => {
    try {
      if (document.visibilityState === 'visible') await ask(() => !stopped);
      if (fault && !stopped) fault.value = undefined;
    } catch (thrown) {
      if (!fault) throw thrown;
      if (!stopped) fault.value = sentenceOf(thrown);
    }
    if (!stopped) timer = setTimeout(() => void round(), typeof everyMs === 'number' ? everyMs : everyMs());
  };
  void round();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
