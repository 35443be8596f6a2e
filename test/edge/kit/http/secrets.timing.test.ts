import { expect, onTestFinished, test } from 'vitest';
import { maskSecrets, registerSecrets } from '#edge/kit/http/secrets.ts';
import { measureLeastCpu } from '#test/support/measure-least-cpu.ts';

const SECRET = 'sk+live/7f:"Q9=xzaB&?~c%41d';

test('masking does not take quadratic time for a text full of any escape', () => {
  registerSecrets('test', [SECRET, `Bearer ${SECRET}`]);
  onTestFinished(() => registerSecrets('test', []));
  const texts = ['%', '%41', '%4', '\\', '\\u0041', '\\u', 'sk+live/'].map(
    (one) => `%${one.repeat(1_000_000 / one.length)}`,
  );
  for (const text of texts) expect(maskSecrets(text)).toBe(text);
  // As many characters in one text as in sixteen: what collects their garbage is the same, and quadratic is sixteen times.
  const timeFor = (length: number) =>
    measureLeastCpu(() => {
      for (const text of texts) for (let at = 0; at < 320_000; at += length) maskSecrets(text.slice(at, at + length));
    }, 9);
  expect(timeFor(320_000)).toBeLessThan(5 * timeFor(20_000));
});
