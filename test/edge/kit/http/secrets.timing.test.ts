import { expect, onTestFinished, test } from 'vitest';
import { keepSecrets, masked } from '#edge/kit/http/secrets.ts';
import { leastCpu } from '#test/support/least-cpu.ts';

const SECRET = 'sk+live/7f:"Q9=xzaB&?~c%41d';

test('masking takes linear time, whatever escapes a text is full of', () => {
  keepSecrets('test', [SECRET, `Bearer ${SECRET}`]);
  onTestFinished(() => keepSecrets('test', []));
  const texts = ['%', '%41', '%4', '\\', '\\u0041', '\\u', 'sk+live/'].map(
    (one) => `%${one.repeat(1_000_000 / one.length)}`,
  );
  for (const text of texts) expect(masked(text)).toBe(text);
  // As many characters in one text as in sixteen: what collects their garbage is the same, and quadratic is sixteen times.
  const timeFor = (length: number) =>
    leastCpu(() => {
      for (const text of texts) for (let at = 0; at < 320_000; at += length) masked(text.slice(at, at + length));
    }, 9);
  expect(timeFor(320_000)).toBeLessThan(5 * timeFor(20_000));
});
