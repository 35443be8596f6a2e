import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { jsonPointer, readTextAtPointer } from '#edge/plugins/webhooks/sources/json-pointer.ts';
import { tryCases } from '#test/support/property-cases.ts';

const BODY = JSON.parse(
  '{"id": 7, "paid": false, "data": {"message": "Hello", "lines": ["one", {"text": "two"}], "": "empty"}, "a/b": "slash", "m~n": "tilde", "none": null, "__proto__": {"text": "own"}}',
) as unknown;

describe('readTextAtPointer', () => {
  test.each([
    ['/id', '7'],
    ['/paid', 'false'],
    ['/data/message', 'Hello'],
    ['/data/lines/0', 'one'],
    ['/data/lines/1/text', 'two'],
    ['/data/', 'empty'],
    ['/a~1b', 'slash'],
    ['/m~0n', 'tilde'],
    ['/__proto__/text', 'own'],
  ])('reads %s as text', (pointer, text) => {
    expect(readTextAtPointer(BODY, pointer)).toBe(text);
  });

  test.each([
    '/missing',
    '/data',
    '/data/lines',
    '/none',
    '/none/text',
    '/data/message/0',
    '/data/message/length',
    '/data/lines/length',
    '/data/lines/-',
    '/data/lines/01',
    '/data/lines/2',
    '/constructor/name',
    '/toString',
    '/data/hasOwnProperty',
  ])('reads nothing at %s', (pointer) => {
    expect(readTextAtPointer(BODY, pointer)).toBeUndefined();
  });

  test('reads any text in any body by its pointer', () => {
    const names = fc.array(fc.string(), { minLength: 1, maxLength: 6 });
    tryCases(500, names, fc.string(), (steps, text) => {
      const body = steps.reduceRight<unknown>((inner, step) => Object.fromEntries([[step, inner]]), text);
      const pointer = steps.map((step) => `/${step.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
      expect(readTextAtPointer(body, pointer)).toBe(text);
    });
  });
});

test('accepts only pointers that begin with a slash and contain ~ only as ~0 or ~1', () => {
  const isPointer = (text: unknown) => jsonPointer.safeParse(text).success;
  for (const pointer of ['/a', '/', '/a/0/b~1c', '/ä b']) expect(isPointer(pointer), pointer).toBe(true);
  for (const other of ['', 'a', '#/a', '/a~', '/a~2', '$.a', 7, `/${'a'.repeat(256)}`])
    expect(isPointer(other), String(other)).toBe(false);
});
