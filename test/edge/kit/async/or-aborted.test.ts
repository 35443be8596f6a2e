import { expect, test } from 'vitest';
import { orAborted } from '#edge/kit/async/or-aborted.ts';

const left = new Error('The caller has left.');

test('work that ends in time says what it has to say', async () => {
  const { signal } = new AbortController();
  expect(await orAborted(Promise.resolve('done'), signal)).toBe('done');
  await expect(orAborted(Promise.reject(new Error('broken')), signal)).rejects.toThrow('broken');
});

test('work that does not heed its signal is waited for until it is aborted', async () => {
  const controller = new AbortController();
  const waiting = orAborted(new Promise(() => {}), controller.signal);
  controller.abort(left);
  await expect(waiting).rejects.toBe(left);
});

test('a signal that was aborted before does not wait at all', async () => {
  await expect(orAborted(new Promise(() => {}), AbortSignal.abort(left))).rejects.toBe(left);
});
