import { expect, test } from 'vitest';
import { findInputMismatch } from '#edge/plugins/runs/find-misfit.ts';

const city = { $ref: '#/$defs/City' };
const schema = {
  $defs: { City: { type: 'string', enum: ['Bern', 'Basel'] } },
  type: 'object',
  properties: { city, days: { type: 'integer', minimum: 1 } },
  required: ['city'],
};

test('accepts a matching input that has properties which the schema does not list', () => {
  expect(findInputMismatch({ city: 'Bern', days: 2, more: true }, schema)).toBeUndefined();
});

test.each([
  [{}, 'input: Instance does not have required property "city"'],
  [{ city: 'Rome' }, 'input.city:'],
  [{ city: 'Bern', days: 0 }, 'input.days: 0 is less than 1'],
  ['Bern', 'input:'],
])('names the mismatch in %j', (input, words) => {
  expect(findInputMismatch(input, schema)).toContain(words);
});

test('accepts every input without a schema, or with a recursive or malformed one', () => {
  const tree = { type: 'object', properties: { child: { $ref: '#' } } };
  expect(findInputMismatch({ child: 1 }, tree)).toBeUndefined();
  expect(findInputMismatch({ child: 1 }, { $ref: '#' })).toBeUndefined();
  expect(findInputMismatch(1, undefined)).toBeUndefined();
  expect(findInputMismatch({ a: 'x' }, { properties: { a: { type: 'string', pattern: '(' } } })).toBeUndefined();
});
