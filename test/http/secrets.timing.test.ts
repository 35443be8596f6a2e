import { expect, onTestFinished, test } from 'vitest';
import { keepSecrets, masked } from '../../src/http/secrets.ts';
import { leastCpu } from '../support/least-cpu.ts';

const SECRET = 'sk+live/7f:"Q9=xzaB&?~c%41d';

test('masking a megabyte takes little CPU, whatever escapes it is full of', () => {
  keepSecrets('test', [SECRET, `Bearer ${SECRET}`]);
  onTestFinished(() => keepSecrets('test', []));
  const texts = ['%', '%41', '%4', '\\', '\\u0041', '\\u', 'sk+live/'].map(
    (one) => `%${one.repeat(1_000_000 / one.length)}`,
  );
  for (const text of texts) expect(masked(text)).toBe(text);
  const timeFor = (length: number) => leastCpu(() => texts.map((text) => masked(text.slice(0, length))), 3);
  expect(timeFor(1_000_000)).toBeLessThan(20 * timeFor(125_000) + 20);
});
