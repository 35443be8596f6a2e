/**
 * Asks at once, and again after each answer, while the page is visible.
 *
 * @param ask must not reject; `isCurrent` says whether its answer is still wanted
 * @param everyMs the pause between an answer and the next question, in milliseconds
 * @returns what stops it
 */
export function poll(
  ask: (isCurrent: () => boolean) => Promise<unknown>,
  everyMs: number | (() => number),
): () => void {
  let stopped = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const round = async () => {
    if (document.visibilityState === 'visible') await ask(() => !stopped);
    if (!stopped) timer = setTimeout(() => void round(), typeof everyMs === 'number' ? everyMs : everyMs());
  };
  void round();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
