import { expect, test } from 'vitest';
import { offerSharedStart } from './shared-start.ts';

test('the edge that tests share is started once, and says its last hundred lines to whoever asks', async () => {
  let starts = 0;
  const lines = Array.from({ length: 150 }, (_, nth) => `line ${nth}`);
  const shared = await offerSharedStart(async () => {
    starts += 1;
    return { url: 'http://127.0.0.1:1', pid: 0, output: () => lines.join('\n'), stop: async () => {} };
  });
  const asked = async (path: string) => await (await fetch(shared.url + path)).text();
  expect(await Promise.all([asked('/'), asked('/')])).toEqual(['http://127.0.0.1:1', 'http://127.0.0.1:1']);
  expect((await asked('/said')).split('\n')).toEqual(lines.slice(-100));
  await shared.stop();
  expect(starts).toBe(1);
});
