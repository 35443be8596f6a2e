import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseJsonPreservingNumbers } from '#page/chat/session/exact-json.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

const NUMBERS = ['2512292042121000001', '9007199254740993', '1.50', '1e400', '-0', '1E+2', '1e-400', '7e-7', '0.1'];
const numbers = fc.oneof(fc.constantFrom(...NUMBERS), fc.bigInt().map(String));

test('parseJsonPreservingNumbers keeps the digits of every number, and otherwise agrees with JSON.parse', () => {
  tryCases(caseCount(300), fc.array(numbers), fc.jsonValue(), (texts, value) => {
    const list = `[${texts.map((text) => `{"n":${text}}`)}]`;
    expect(JSON.stringify(parseJsonPreservingNumbers(list))).toBe(list);
    const json = JSON.stringify(value);
    expect(parseJsonPreservingNumbers(json)).toEqual(JSON.parse(json));
  });
});
