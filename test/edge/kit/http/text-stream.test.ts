import { setImmediate as nextLoop } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createTextStream } from '#edge/kit/http/text-stream.ts';

const texts = Array.from({ length: 220 }, (_, nth) => `text ${nth}\n`);

test('joins many short texts into one piece, and yields to the event loop after each hundred', async () => {
  let made = 0;
  function* counted() {
    for (const text of texts) {
      made += 1;
      yield text;
    }
  }
  const pieces: string[] = [];
  const reading = (async () => {
    for await (const piece of createTextStream(counted())) pieces.push(new TextDecoder().decode(piece));
  })();
  const stretches = [made];
  while (pieces.length === 0) {
    await nextLoop();
    if (made > (stretches.at(-1) ?? 0)) stretches.push(made);
  }
  await reading;
  expect(pieces).toEqual([texts.join('')]);
  expect(stretches).toEqual([101, 201, 220]);
});

test('streams texts from an asynchronous iterable', async () => {
  async function* coming() {
    yield* texts;
  }
  expect(await new Response(createTextStream(coming())).text()).toBe(texts.join(''));
  async function* none() {}
  expect(await new Response(createTextStream(none())).text()).toBe('');
});

test('throws an error within the first hundred texts at once, and fails the stream on a later one', async () => {
  function* broken(from: number) {
    yield* texts.slice(0, from);
    throw new Error('broken');
  }
  expect(() => createTextStream(broken(3))).toThrow('broken');
  await expect(new Response(createTextStream(broken(120))).text()).rejects.toThrow('broken');
});

test('ends the iteration when the reader cancels', async () => {
  let isOver = false;
  function* watched() {
    try {
      for (;;) yield 'a'.repeat(40_000);
    } finally {
      isOver = true;
    }
  }
  const reader = createTextStream(watched()).getReader();
  await reader.read();
  await reader.cancel();
  expect(isOver).toBe(true);
});
