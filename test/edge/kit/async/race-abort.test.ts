import { expect, test } from 'vitest';
import { raceAbort } from '#edge/kit/async/race-abort.ts';

const left = new Error('The caller has left.');

test('raceAbort settles like the work if the work ends first', async () => {
  const { signal } = new AbortController();
  expect(await raceAbort(Promise.resolve('done'), signal)).toBe('done');
  await expect(raceAbort(Promise.reject(new Error('broken')), signal)).rejects.toThrow('broken');
});

test('raceAbort rejects with the abort reason while the work is still pending', async () => {
  const controller = new AbortController();
  const waiting = raceAbort(new Promise(() => {}), controller.signal);
  controller.abort(left);
  await expect(waiting).rejects.toBe(left);
});

test('raceAbort rejects immediately if the signal is already aborted', async () => {
  await expect(raceAbort(new Promise(() => {}), AbortSignal.abort(left))).rejects.toBe(left);
});
