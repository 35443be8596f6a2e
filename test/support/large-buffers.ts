import { onTestFinished } from 'vitest';
import { TEE_PIECE_BYTES, takePooledBuffer } from '#edge/claude/relay/tee-reader.ts';

/** More than are kept to be used again. */
const SPARE = 20;

/** @returns how many large buffers were made since this call. There is none to use again */
export function countLargeBuffers(): () => number {
  for (let spare = 0; spare < SPARE; spare += 1) takePooledBuffer();
  let made = 0;
  const whole = globalThis.ArrayBuffer;
  globalThis.ArrayBuffer = new Proxy(whole, {
    construct(target, args: [number], newTarget) {
      if (args[0] >= TEE_PIECE_BYTES) made += 1;
      return Reflect.construct(target, args, newTarget) as object;
    },
  });
  onTestFinished(() => {
    globalThis.ArrayBuffer = whole;
  });
  return () => made;
}
