import { describe, expect, test } from 'vitest';
import {
  normalizeClassifier,
  normalizeStoredClassifier,
  parseStoredClassifierJson,
  toStoredClassifier,
} from '#edge/classify/task/classifier.ts';
import { FIRST_SCHEMAS } from '#test/support/first-schemas.ts';

const PYDANTIC = FIRST_SCHEMAS['a model of Pydantic'].schema;

test('stores equivalent definitions as the same text, with each label as it was sent', () => {
  const stored = toStoredClassifier({ labels: ['a', { name: 'b', description: 'B' }], instructions: 'x', votes: 3 });
  const text = JSON.stringify(stored);
  const again = { votes: 3, instructions: 'x', multi: false, labels: ['a', { description: 'B', name: 'b' }] };
  expect(JSON.stringify(toStoredClassifier(again))).toBe(text);
  expect(stored.labels).toEqual(['a', { name: 'b', description: 'B' }]);
  expect(normalizeStoredClassifier(parseStoredClassifierJson(text))).toEqual(normalizeClassifier(again));
});

test.each([{ enum: ['a', 'b'] }, { properties: { mood: { enum: ['a', 'b'] } } }, PYDANTIC])(
  'stores a schema as it was sent, and normalizes it like an unstored one: %j',
  (schema) => {
    const stored = toStoredClassifier({ schema });
    expect(stored.schema).toBe(schema);
    expect(normalizeStoredClassifier(stored)).toEqual(normalizeClassifier({ schema }));
  },
);

const text = { type: 'string' };
const choice = { type: 'string', enum: ['good', 'bad'] };
const labels = [{ name: 'good' }, { name: 'bad' }];
const object = (properties: object, required: string[] = Object.keys(properties)) => ({
  type: 'object',
  properties,
  required,
});

describe('a schema that is only an enum', () => {
  test('is read as a list of labels', () => {
    expect(normalizeClassifier({ schema: choice })).toEqual({ labels, multi: false, allow_none: false });
    expect(normalizeClassifier({ schema: { enum: ['good', null, 'bad'] } })).toEqual({
      labels,
      multi: false,
      allow_none: true,
    });
  });
});

describe('the label of a schema', () => {
  test.each([
    ['the only enum', object({ sentiment: choice, why: text }), 'sentiment'],
    ['`label`', object({ priority: { enum: ['low', 'high'] }, label: choice }), 'label'],
    ['`labels`', object({ priority: { enum: ['low', 'high'] }, labels: { type: 'array', items: choice } }), 'labels'],
    ...['category', 'class', 'type'].map((name): [string, ReturnType<typeof object>, string] => [
      `\`${name}\``,
      object({ priority: { enum: ['low', 'high'] }, [name]: choice, requires_human: { type: 'boolean' } }),
      name,
    ]),
    [
      'the only enum of two or more',
      object({ kind: { enum: ['ticket'] }, label: { enum: ['x'] }, mood: choice }),
      'mood',
    ],
    [
      'an enum before a list of one',
      object({ tags: { type: 'array', items: { enum: ['a', 'b'] } }, mood: choice }),
      'mood',
    ],
    ['the only list of an enum', object({ tags: { type: 'array', items: choice }, why: text }), 'tags'],
    ['the first in `required`', object({ a: { enum: ['x', 'y'] }, b: choice, c: choice }, ['c', 'b']), 'c'],
    ['the first', object({ a: choice, b: { enum: ['x', 'y'] } }, []), 'a'],
  ])('is %s', (_, schema, name) => {
    expect(normalizeClassifier({ schema })).toMatchObject({ schema, label_property: name, labels });
  });

  test('is the property that `label_property` names', () => {
    const schema = object({ label: { enum: ['x', 'y'] }, mood: choice });
    expect(normalizeClassifier({ schema, label_property: 'mood' })).toEqual({
      labels,
      multi: false,
      allow_none: false,
      schema,
      label_property: 'mood',
    });
  });

  test('may be null, absent or a list if the schema allows it', () => {
    const read = (property: object, required = true) =>
      normalizeClassifier({ schema: object({ mood: property }, required ? ['mood'] : []) });
    expect(read(choice)).toMatchObject({ multi: false, allow_none: false });
    expect(read(choice, false)).toMatchObject({ allow_none: true });
    expect(read({ anyOf: [choice, { type: 'null' }] })).toMatchObject({ labels, allow_none: true });
    expect(read({ enum: ['good', 'bad', null] })).toMatchObject({ labels, allow_none: true });
    expect(read({ allOf: [choice] })).toMatchObject({ labels, allow_none: false });
    const list = { type: 'array', items: choice };
    expect(read(list)).toMatchObject({ labels, multi: true, allow_none: true });
    expect(read({ ...list, minItems: 1 })).toMatchObject({ multi: true, allow_none: false });
    expect(read({ anyOf: [{ ...list, minItems: 1 }, { type: 'null' }] })).toMatchObject({
      multi: true,
      allow_none: true,
    });
  });

  test('keeps the descriptions of its alternatives', () => {
    const mood = { oneOf: [{ const: 'good', description: 'A smile.' }, { const: 'bad' }] };
    expect(normalizeClassifier({ schema: object({ mood }) }).labels).toEqual([
      { name: 'good', description: 'A smile.' },
      { name: 'bad' },
    ]);
  });

  test('is found through references, and the schema is stored as it was sent', () => {
    const classifier = normalizeClassifier({ schema: PYDANTIC });
    expect(classifier).toMatchObject({
      label_property: 'category',
      labels: ['billing', 'bug', 'other'].map((name) => ({ name })),
    });
    expect(classifier.schema).toEqual(PYDANTIC);
  });

  test('needs no `type` beside `properties`', () => {
    expect(normalizeClassifier({ schema: { properties: { mood: choice } } })).toMatchObject({ label_property: 'mood' });
  });
});

test('examples of a classifier with a schema contain the whole object', () => {
  const schema = object({ mood: choice, why: text });
  const example = { input: 'x', output: { mood: 'good', why: 'y' } };
  expect(normalizeClassifier({ schema, examples: [example] }).examples).toEqual([example]);
});

/** Fields of which so many may be left out. */
const open = (count: number) => ({
  type: 'object',
  properties: Object.fromEntries(Array.from({ length: count }, (_, at) => [`p${at}`, { type: 'string' }])),
});

test('accepts 24 optional fields', () => {
  expect(normalizeClassifier({ labels: ['a'], fields: open(24) }).fields).toEqual(open(24));
});

test.each([
  [{ labels: ['a'], fields: open(25) }, 'fields: 25 of its properties are optional, and Claude supports at most 24.'],
  [
    { schema: { type: 'object', properties: { ...open(25).properties, label: { enum: ['a', 'b'] } } } },
    'schema: 26 of its properties are optional',
  ],
  [{ schema: { type: 'object', properties: { a: { enum: ['a'] }, b: text } } }, 'as in {"type":"object"'],
  [{}, 'labels'],
  [{ labels: ['a'], schema: { enum: ['a', 'b'] } }, 'labels: differs from the value that `schema` determines'],
  [{ labels: ['a', 'b', 'a'] }, '"a" is listed twice'],
  [{ labels: ['a', { name: 'a' }] }, 'twice'],
  [{ schema: { type: 'string' } }, 'enum of two or more strings'],
  [{ schema: { enum: ['a'] } }, 'enum of two or more strings'],
  [{ schema: { enum: ['a', 'a'] } }, 'twice'],
  [{ schema: { enum: [1, 2] } }, 'enum of two or more strings'],
  [{ schema: { enum: [null] } }, 'enum of two or more strings'],
  [{ schema: { enum: ['a', 'x'.repeat(300)] } }, '256 characters'],
  [{ schema: { enum: ['a', 'b'] }, multi: true }, 'multi: differs from the value that `schema` determines'],
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
  [{ labels: ['a'], label_property: 'a' }, 'label_property: not supported without `schema`'],
  [{ schema: object({ a: choice, b: text }), label_property: 'b' }, 'It can be "a"'],
  [{ schema: choice, label_property: 'b' }, 'Such a schema is'],
  [{ schema: { $ref: '#' } }, 'schema: $ref is recursive'],
  [{ schema: object({ a: choice }), examples: [{ input: 'x', label: 'good' }] }, 'examples.0: requires `output`'],
  [
    { schema: object({ a: choice }), examples: [{ input: 'x', output: { a: 'so' } }] },
    'examples.0.output.a: does not match',
  ],
  [
    { labels: ['a'], examples: [{ input: 'x', output: {} }] },
    'examples.0.output: supported only by a classifier with a `schema`',
  ],
  [{ labels: ['a'], examples: [{ input: 'x' }] }, 'examples.0: requires `label`'],
  [{ labels: ['a'], examples: [{ input: 'x', label: 'b' }] }, '"b" is not a label of'],
  [{ labels: ['a'], examples: [{ input: 'x', label: null }] }, 'allow_none'],
  [{ labels: ['a'], multi: true, examples: [{ input: 'x', label: 'a' }] }, 'requires `labels`'],
  [{ labels: ['a'], examples: [{ input: 'x', label: 'a', fields: {} }] }, 'extracts no fields'],
])('rejects %j with an error that explains the problem', (given, words) => {
  expect(() => normalizeClassifier(given as Parameters<typeof normalizeClassifier>[0])).toThrow(words);
});
