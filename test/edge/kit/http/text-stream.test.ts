import { setImmediate as nextLoop } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createTextStream } from '#edge/kit/http/text-stream.ts';

const texts = Array.from({ length: 220 }, (_, nth) => `text ${nth}\n`);

test('many short texts are one piece, and others work behind each hundred of them', async () => {
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

test('texts that come one after the other are the same stream', async () => {
  async function* coming() {
    yield* texts;
  }
  expect(await new Response(createTextStream(coming())).text()).toBe(texts.join(''));
  async function* none() {}
  expect(await new Response(createTextStream(none())).text()).toBe('');
});

test('what the first stretch throws is thrown at once, and what a later one throws breaks the stream', async () => {
  function* broken(from: number) {
    yield* texts.slice(0, from);
    throw new Error('broken');
  }
  expect(() => createTextStream(broken(3))).toThrow('broken');
  await expect(new Response(createTextStream(broken(120))).text()).rejects.toThrow('broken');
});

test('who leaves ends the texts', async () => {
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
