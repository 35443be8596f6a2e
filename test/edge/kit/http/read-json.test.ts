// In workerd: what turns bytes into text there is the runtime's.
import 'cloudflare:workers';

import { expect, test, vi } from 'vitest';
import { createTooLargeError } from '#edge/kit/http/errors.ts';
import { readBodyBytes } from '#edge/kit/http/read-json.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

test('rejects a body that does not end within its time, and cancels it', async () => {
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
  const reading = readBodyBytes(request, 1_000, onLength, { isDoubted: true, mostMs: 50 });
  await expect(reading).rejects.toMatchObject({
    status: 400,
    message: 'The request body is incomplete. Send it again.',
  });
  expect([heard, cancelled]).toEqual([[10], true]);
});

test('reports the length of a body once, whether or not its content-length is trusted', async () => {
  for (const isDoubted of [false, true]) {
    const heard: number[] = [];
    const onLength = (length: number) => {
      heard.push(length);
    };
    const headers = { 'content-length': '4' };
    const request = new Request('http://edge/messages', { method: 'POST', headers, body: 'abcd' });
    expect(await readBodyBytes(request, 1_000, onLength, { isDoubted })).toEqual(new TextEncoder().encode('abcd'));
    expect(heard).toEqual([4]);
  }
});

test('takes no more memory than its bytes for a body that arrives byte by byte', async () => {
  const whole = Uint8Array.from({ length: 9_000 }, (_, at) => at % 251);
  const { readable, writable } = new IdentityTransformStream();
  const writing = (async () => {
    const writer = writable.getWriter();
    for (let at = 0; at < whole.length; at += 1) await writer.write(whole.slice(at, at + 1));
    await writer.close();
  })();
  const heard: number[] = [];
  const onLength = (length: number) => {
    heard.push(length);
  };
  const request = new Request('http://edge/webhooks/github', { method: 'POST', body: readable });
  expect(await readBodyBytes(request, 10_000, onLength, { isDoubted: true })).toEqual(whole);
  // Each piece has a buffer of thousands of bytes.
  expect(heard).toEqual([4_096, 8_192, 9_000]);
  await writing;
});

test('rejects a long body that stalls, with and without a trusted length', async () => {
  for (const isDoubted of [false, true]) {
    const { readable, writable } = new FixedLengthStream(1_000_000);
    const writer = writable.getWriter();
    const written = writer.write(new Uint8Array(300_000)).catch(() => 'cancelled');
    const headers = { 'content-length': '1000000' };
    const request = new Request('http://edge/messages', { method: 'POST', headers, body: readable });
    const reading = readBodyBytes(request, 2_000_000, () => {}, { isDoubted, stretchMs: 50 });
    await expect(reading).rejects.toMatchObject({
      status: 400,
      message: 'The request body is incomplete. Send it again.',
    });
    await written;
  }
});

test('rejects a short body that stalls, with and without a trusted length', async () => {
  for (const isDoubted of [false, true]) {
    const { readable, writable } = new FixedLengthStream(1_000);
    const writer = writable.getWriter();
    const written = writer.write(new Uint8Array(10)).catch(() => 'cancelled');
    const headers = { 'content-length': '1000' };
    const request = new Request('http://edge/messages', { method: 'POST', headers, body: readable });
    const reading = readBodyBytes(request, 2_000_000, () => {}, { isDoubted, shortMs: 50 });
    await expect(reading).rejects.toMatchObject({
      status: 400,
      message: 'The request body is incomplete. Send it again.',
    });
    await written;
  }
});

test('waits at most `discardMs` for the rest of a rejected body', async () => {
  const { readable } = new FixedLengthStream(1_000_000);
  const headers = { 'content-length': '1000000' };
  const request = new Request('http://edge/messages', { method: 'POST', headers, body: readable });
  const refuse = () => {
    throw createTooLargeError(1);
  };
  await expect(readBodyBytes(request, 2_000_000, refuse, { discardMs: 50 })).rejects.toMatchObject({ status: 413 });
});

test('reads a long body that arrives slowly but steadily', async () => {
  let look = () => {};
  vi.spyOn(globalThis, 'setInterval').mockImplementation(((run: () => void) => {
    look = run;
  }) as never);
  for (const isDoubted of [false, true]) {
    const whole = Uint8Array.from({ length: 500_000 }, (_, at) => at % 251);
    const { readable, writable } = new FixedLengthStream(whole.length);
    const writing = (async () => {
      const writer = writable.getWriter();
      for (let at = 0; at < whole.length; at += 100_000) {
        await writer.write(whole.subarray(at, at + 100_000));
        await yieldToEventLoop(3);
        // Each time, as much has come as must at least.
        look();
      }
      await writer.close();
    })();
    const headers = { 'content-length': String(whole.length) };
    const request = new Request('http://edge/messages', { method: 'POST', headers, body: readable });
    const bytes = await readBodyBytes(request, 2_000_000, () => {}, { isDoubted, stretchMs: 2_000 });
    expect([bytes.length, bytes.every((byte, at) => byte === whole[at])]).toEqual([whole.length, true]);
    await writing;
  }
});
