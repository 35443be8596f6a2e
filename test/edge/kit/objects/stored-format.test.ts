import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FORMATS, type FormatName, readFormat, writeFormat } from '../../../../src/edge/kit/objects/stored-format.ts';
import { tryCases } from '../../../support/runs.ts';

const name = fc.constantFrom(...(Object.keys(FORMATS) as FormatName[]));
/** As JSON has them: it knows no -0. */
const members = fc
  .dictionary(
    fc.string().filter((key) => key !== 'v' && key !== '__proto__'),
    fc.jsonValue(),
  )
  .map((value) => JSON.parse(JSON.stringify(value)) as object);

test('what a release writes it reads, with members that it does not know', () => {
  tryCases(100, name, members, fc.integer({ min: 1, max: 5 }), (format, value, version) => {
    const text = writeFormat(format, value, { reads: version, writes: version });
    const read = readFormat(format, text, { reads: version, writes: version });
    expect(read).toEqual(version === 1 ? value : { ...value, v: version });
    // The first version has no number.
    if (version === 1) expect(text).toBe(JSON.stringify(value));
  });
});

test('what only a later release can read is refused with what to do, and never taken for something else', () => {
  tryCases(
    100,
    name,
    members,
    fc.integer({ min: 1, max: 5 }),
    fc.integer({ min: 1, max: 5 }),
    (format, value, a, b) => {
      const text = writeFormat(format, value, { reads: a, writes: a });
      const read = () => readFormat(format, text, { reads: b, writes: b });
      if (a <= b) expect(read).not.toThrow();
      else expect(read).toThrow(/newer version of this edge.*deploy/);
    },
  );
  for (const odd of ['{"v":"2"}', '{"v":null}', '{"v":{}}']) {
    const read = () => readFormat('profile', odd);
    if (odd === '{"v":null}') expect(read).not.toThrow();
    else expect(read).toThrow();
  }
});

test('a release writes what it reads itself', () => {
  for (const { reads, writes } of Object.values(FORMATS)) expect(writes).toBeLessThanOrEqual(reads);
});
