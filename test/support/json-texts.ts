/** JSON as nobody's `JSON.stringify` would write it: another reader may see other values in it. */
import fc from 'fast-check';

const number = fc.oneof(
  fc.constantFrom('2512292042121000001', '9007199254740993', '1.0', '1e400', '-0', '-0.0', '1E+2', '0.10', '1e-400'),
  fc.bigInt().map(String),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
);
const string = fc.oneof(
  fc.constantFrom('"\\u0041"', '"\\/"', '"é"', '"\\ud83d\\ude00"', '"\\uD800"', '"\u2028"', '"\\u0000"', '"a\\\\\\"{"'),
  fc.string({ unit: 'grapheme', maxLength: 6 }).map((text) => JSON.stringify(text)),
);
const space = fc.constantFrom('', '', ' ', '\n', '\t\r\n ');
const key = fc.constantFrom('"order"', '"input"', '"text"', '"\\u006frder"', '"2"', '"1"', '"__proto__"', '""');
const nested = fc.nat(60).map((depth) => '[{"a":'.repeat(depth) + '1'.repeat(20) + '}]'.repeat(depth));

const { object, value } = fc.letrec<{ value: string; object: string; list: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.oneof(number, string, nested, fc.constantFrom('true', 'null', '{}', '[ ]')),
    tie('object'),
    tie('list'),
  ),
  object: fc
    .array(fc.tuple(key, space, tie('value'), space), { minLength: 1, maxLength: 4 })
    .map((members) => `{${members.map(([name, one, value, two]) => `${one}${name}${two}:${one}${value}${two}`)}}`),
  list: fc.tuple(fc.array(tie('value'), { maxLength: 3 }), space).map(([items, one]) => `[${one}${items}${one}]`),
}));

/** The text of an object that has a member: repeated keys at any depth, long numbers, escapes of any kind, white space. */
export const arbitraryObjectTexts = object;
export const arbitraryValueTexts = value;

/** The same text on one line, as it stands in a stream. */
export const toOneLine = (json: string) => json.replace(/[\n\r]/g, ' ');
