import { expect, test } from 'vitest';
import { classifierOf, readClassifier } from '../../../../src/edge/classify/task/classifier.ts';

test('what says the same is stored as the same text', () => {
  const stored = JSON.stringify(
    classifierOf({ labels: ['a', { name: 'b', description: 'B' }], instructions: 'x', votes: 3 }),
  );
  expect(
    JSON.stringify(
      classifierOf({
        votes: 3,
        instructions: 'x',
        multi: false,
        labels: [{ name: 'a' }, { description: 'B', name: 'b' }],
      }),
    ),
  ).toBe(stored);
  expect(JSON.stringify(readClassifier(stored))).toBe(stored);
});

test('a schema is read as the labels and fields in it', () => {
  const labels = [{ name: 'a' }, { name: 'b' }];
  expect(classifierOf({ schema: { type: 'string', enum: ['a', 'b'] } })).toEqual({
    labels,
    multi: false,
    allow_none: false,
  });
  expect(classifierOf({ schema: { enum: ['a', null, 'b'] } })).toMatchObject({ labels, allow_none: true });
  const several = { type: 'array', items: { enum: ['a', 'b'] } };
  expect(classifierOf({ schema: { type: 'object', properties: { labels: several } } })).toMatchObject({
    labels,
    multi: true,
    allow_none: true,
  });
  expect(
    classifierOf({ schema: { type: 'object', properties: { labels: { ...several, minItems: 1 } } } }),
  ).toMatchObject({ allow_none: false });
  expect(
    classifierOf({
      schema: {
        type: 'object',
        properties: { label: { oneOf: [{ const: 'a', description: 'A' }, { const: 'b' }] }, n: { type: 'integer' } },
        required: ['label', 'n'],
      },
    }),
  ).toEqual({
    labels: [{ name: 'a', description: 'A' }, { name: 'b' }],
    multi: false,
    allow_none: false,
    fields: { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] },
  });
});

test('the only enum of a schema is the label, whatever its name', () => {
  const choice = { type: 'string', enum: ['good', 'bad'] };
  const text = { type: 'string' };
  for (const name of ['category', 'sentiment', 'class']) {
    const schema = { type: 'object', properties: { [name]: choice, why: text }, required: [name, 'why'] };
    expect(classifierOf({ schema })).toEqual({
      ...{ labels: [{ name: 'good' }, { name: 'bad' }], multi: false, allow_none: false },
      fields: { type: 'object', properties: { why: text }, required: ['why'] },
    });
  }
  const properties = { label: text, category: { enum: ['good', 'bad', null] } };
  expect(classifierOf({ schema: { type: 'object', properties } })).toMatchObject({
    allow_none: true,
    fields: { properties: { label: text } },
  });
  // With `label` or `labels`, another enum is a field.
  for (const own of [{ label: choice }, { labels: { type: 'array', items: choice } }]) {
    const schema = { type: 'object', properties: { priority: { enum: ['low', 'high'] }, ...own } };
    expect(classifierOf({ schema })).toMatchObject({
      labels: [{ name: 'good' }, { name: 'bad' }],
      fields: { properties: { priority: { enum: ['low', 'high'] } } },
    });
  }
});

/** Fields of which so many may be left out. */
const open = (count: number) => ({
  type: 'object',
  properties: Object.fromEntries(Array.from({ length: count }, (_, at) => [`p${at}`, { type: 'string' }])),
});

test('24 fields may be left out', () => {
  expect(classifierOf({ labels: ['a'], fields: open(24) }).fields).toEqual(open(24));
});

test.each([
  [{ labels: ['a'], fields: open(25) }, 'fields: 25 of its members are optional, and Claude takes 24 at the most.'],
  [
    { schema: { type: 'object', properties: { ...open(25).properties, label: { enum: ['a'] } } } },
    'schema: 25 of its members are optional',
  ],
  [{ schema: { type: 'object', properties: { a: { enum: ['a'] }, b: { enum: ['b'] } } } }, 'the only one'],
  [{}, 'labels'],
  [{ labels: ['a'], schema: { enum: ['a'] } }, 'one of them'],
  [{ labels: ['a', 'b', 'a'] }, '"a" stands there twice'],
  [{ labels: ['a', { name: 'a' }] }, 'twice'],
  [{ schema: { type: 'string' } }, 'enum of strings'],
  [{ schema: { enum: ['a', 'a'] } }, 'twice'],
  [{ schema: { enum: [1, 2] } }, 'enum of strings'],
  [{ schema: { enum: [null] } }, 'enum of strings'],
  [{ schema: { enum: ['x'.repeat(300)] } }, '256 characters'],
  [{ schema: { enum: ['a'] }, multi: true }, 'schema: it says by itself'],
  [{ schema: { type: 'nonsense' } }, 'schema: type should be one of'],
  [{ labels: ['a'], fields: { type: 'string' } }, 'fields: Input should be a JSON schema of an object'],
  [{ labels: ['a'], fields: { type: 'object', properties: { x: {} } } }, 'fields: properties.x should have a type'],
  [
    {
      labels: ['a'],
      fields: { type: 'object', properties: { x: { type: 'string', description: 'x'.repeat(40_000) } } },
    },
    '32768 characters',
  ],
  [{ labels: ['a'], examples: [{ input: 'x' }] }, 'examples.0: it needs `label`'],
  [{ labels: ['a'], examples: [{ input: 'x', label: 'b' }] }, '"b" is none of the labels'],
  [{ labels: ['a'], examples: [{ input: 'x', label: null }] }, 'allow_none'],
  [{ labels: ['a'], multi: true, examples: [{ input: 'x', label: 'a' }] }, 'it needs `labels`'],
  [{ labels: ['a'], examples: [{ input: 'x', label: 'a', fields: {} }] }, 'extracts none'],
])('%j is refused by a sentence that says what to do', (given, words) => {
  expect(() => classifierOf(given as Parameters<typeof classifierOf>[0])).toThrow(words);
});
