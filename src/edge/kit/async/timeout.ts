/**
 * Waits for a promise, but only for a limited time. The work itself continues.
 *
 * @throws Error when it takes longer, or the error of the work
 */
export async function waitWithTimeout<T>(work: Promise<T>, milliseconds: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('took too long')), milliseconds);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** @returns the value of a promise, or undefined if it takes longer. */
export function resolveWithin<T>(coming: Promise<T>, milliseconds: number): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const waiting = setTimeout(resolve, milliseconds, undefined);
    coming.then(
      (value) => {
        clearTimeout(waiting);
        resolve(value);
      },
      (thrown) => {
        clearTimeout(waiting);
        reject(thrown);
      },
    );
  });
}
