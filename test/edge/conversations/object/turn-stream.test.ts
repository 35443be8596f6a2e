// In workerd: the streams are the runtime's.
import 'cloudflare:workers';

import { Hono } from 'hono';
import { expect, test } from 'vitest';
import type { AppEnv } from '#edge/auth/context.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { streamTurn } from '#edge/conversations/object/turn-stream.ts';
import { encoder } from '#edge/kit/http/bytes.ts';
import { countLargeBuffers } from '#test/support/large-buffers.ts';

const EVENT = 'event: ping\ndata: {"type":"ping"}\n\n';

/** @returns the answer to a caller whose signal tells nothing, and how its stream is said to have ended */
async function carried(first?: string, vars: Record<string, string> = {}) {
  const events = new TransformStream<Uint8Array, Uint8Array>();
  const writer = events.writable.getWriter();
  const { readable: body, writable } = new IdentityTransformStream();
  events.readable.pipeTo(writable).catch(() => {});
  const ends: string[] = [];
  let woken = 0;
  const told = Promise.withResolvers<void>();
  const app = new Hono<AppEnv>();
  app.get('/', (c) => {
    c.set('settings', parseSettings(vars));
    return streamTurn(
      c,
      first === undefined ? { body } : { body, first },
      {},
      ({ end }) => {
        ends.push(end);
        told.resolve();
      },
      async () => (woken += 1),
    );
  });
  const waiting: Promise<unknown>[] = [];
  const context = { waitUntil: (promise: Promise<unknown>) => void waiting.push(promise), passThroughOnException() {} };
  const response = await app.request('/', {}, {}, { ...context, props: {} } as unknown as ExecutionContext);
  return { response, writer, waiting, ends, told: told.promise, woken: () => woken };
}

test('a client that disconnects is logged as gone, and does not wake the conversation', async () => {
  for (const first of [undefined, EVENT]) {
    for (const reads of [0, 1]) {
      const { response, writer, ends, told, waiting, woken } = await carried(first);
      const reader = response.body?.getReader();
      if (reads === 1) {
        if (first === undefined) writer.write(encoder.encode(EVENT)).catch(() => {});
        await reader?.read();
      }
      await reader?.cancel();
      // What comes now cannot be written any more.
      writer.write(encoder.encode(EVENT)).catch(() => {});
      writer.write(encoder.encode(EVENT)).catch(() => {});
      await told;
      await Promise.all(waiting);
      expect(ends, `first ${first}, reads ${reads}`).toEqual(['client_gone']);
      expect(woken()).toBe(0);
    }
  }
});

test('a client that reads nothing for STREAM_IDLE_MS is logged as gone and disconnected', async () => {
  const { response, writer, ends, waiting, woken } = await carried(undefined, { STREAM_IDLE_MS: '50' });
  const written = writer.write(encoder.encode(EVENT));
  await Promise.all(waiting);
  expect([ends, woken()]).toEqual([['client_gone'], 0]);
  await written;
  await expect(response.text()).rejects.toThrow();
});

test('a conversation that dies during its response is logged as cut, and is woken', async () => {
  const { response, writer, ends, waiting, woken } = await carried(EVENT);
  await writer.close();
  expect(await response.text()).toContain('The connection to the conversation broke');
  await Promise.all(waiting);
  expect(ends).toEqual(['cut']);
  expect(woken()).toBe(1);
});

test('an open stream allocates no large buffer for single events, and one when much data arrives', async () => {
  const large = countLargeBuffers();
  const { response, writer, waiting } = await carried(EVENT);
  const reader = response.body?.getReader();
  const take = async (bytes: number) => {
    for (let left = bytes; left > 0; ) left -= (await reader?.read())?.value?.length ?? left;
  };
  await take(EVENT.length);
  writer.write(encoder.encode(EVENT)).catch(() => {});
  await take(EVENT.length);
  expect(large()).toBe(0);
  const much = encoder.encode(EVENT.repeat(1_000));
  writer.write(much).catch(() => {});
  await take(much.length);
  expect(large()).toBe(1);
  writer.write(encoder.encode(`${EVENT}\0{"outcome":{"end":"complete"}}`)).catch(() => {});
  await writer.close();
  await take(EVENT.length);
  await Promise.all(waiting);
});
