// In workerd: what turns bytes into text there is the runtime's.
import 'cloudflare:workers';

import { expect, test } from 'vitest';
import { readBytes } from '../../src/http/read-json.ts';

test('a body that does not come to its end is not waited for without end', async () => {
  let cancelled = false;
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(new Uint8Array(10)),
    cancel: () => {
      cancelled = true;
    },
  });
  const heard: number[] = [];
  const onLength = (length: number) => {
    heard.push(length);
  };
  const request = new Request('http://edge/webhooks/github', { method: 'POST', body });
  const reading = readBytes(request, 1_000, onLength, { isDoubted: true, mostMs: 50 });
  await expect(reading).rejects.toMatchObject({ status: 400, message: 'The request body broke off. Send it again.' });
  expect([heard, cancelled]).toEqual([[10], true]);
});

test('a body is heard of before it is held, at once where its length is believed', async () => {
  for (const isDoubted of [false, true]) {
    const heard: number[] = [];
    const onLength = (length: number) => {
      heard.push(length);
    };
    const headers = { 'content-length': '4' };
    const request = new Request('http://edge/messages', { method: 'POST', headers, body: 'abcd' });
    expect(await readBytes(request, 1_000, onLength, { isDoubted })).toEqual(new TextEncoder().encode('abcd'));
    expect(heard).toEqual([4]);
  }
});
