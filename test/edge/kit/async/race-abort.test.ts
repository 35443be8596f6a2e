import { expect, test } from 'vitest';
import { raceAbort } from '#edge/kit/async/race-abort.ts';

const left = new Error('The caller has left.');

test('work that ends in time says what it has to say', async () => {
  const { signal } = new AbortController();
  expect(await raceAbort(Promise.resolve('done'), signal)).toBe('done');
  await expect(raceAbort(Promise.reject(new Error('broken')), signal)).rejects.toThrow('broken');
});

test('work that does not heed its signal is waited for until it is aborted', async () => {
  const controller = new AbortController();
  const waiting = raceAbort(new Promise(() => {}), controller.signal);
  controller.abort(left);
  await expect(waiting).rejects.toBe(left);
});

test('a signal that was aborted before does not wait at all', async () => {
  await expect(raceAbort(new Promise(() => {}), AbortSignal.abort(left))).rejects.toBe(left);
});
