import { expect, test } from 'vitest';
import { offerStart } from './shared-start.ts';

test('starts the shared edge once, and returns its last hundred lines of output', async () => {
  const url = 'http://127.0.0.1:1';
  let starts = 0;
  const lines = Array.from({ length: 150 }, (_, nth) => `line ${nth}`);
  const shared = await offerStart(async () => {
    starts += 1;
    return { url, pid: 0, output: () => lines.join('\n'), stop: async () => {} };
  });
  const asked = async (path: string) => await (await fetch(shared.url + path)).text();
  expect((await Promise.all([asked('/'), asked('/')])).map((said) => JSON.parse(said))).toMatchObject([
    { url },
    { url },
  ]);
  expect((await asked('/said')).split('\n')).toEqual(lines.slice(-100));
  await shared.stop();
  expect(starts).toBe(1);
});
