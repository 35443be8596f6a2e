import fc from 'fast-check';
import { expect, test } from 'vitest';
import { editJson, type JsonMemberChanges, removeRepeatedKeys } from '#edge/kit/json/edit.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

const key = fc.constantFrom('model', 'stream', 'max_tokens', 'prefix', 'a"b', '\\', '', '__proto__', 'é');
const value = fc.jsonValue().map((json) => JSON.stringify(json));
const space = fc.constantFrom('', ' ', '\n\t', '\r\n');

/** The text of an object with any order, spacing and repetition of its keys. */
const object = fc.tuple(fc.array(fc.tuple(key, value, space, space), { maxLength: 8 }), space).map(([members, end]) => {
  const inner = members.map(
    ([name, json, before, after]) => `${before}${JSON.stringify(name)}${after}:${before}${json}${after}`,
  );
  return `${end}{${inner.join(',')}${end}}`;
});

const fallback = value.map((ifAbsent) => ({ ifAbsent }));
const changes = fc.dictionary(key, fc.option(fc.oneof(value, fallback), { nil: undefined }), {
  maxKeys: 4,
  noNullPrototype: false,
});

/** What a change means, said by parsing and writing the whole object anew. */
function changed(text: string, wanted: JsonMemberChanges): unknown {
  const members = new Map(Object.entries(JSON.parse(text) as object));
  for (const [name, json] of Object.entries(wanted)) {
    if (json === undefined) members.delete(name);
    else if (typeof json === 'object') members.has(name) || members.set(name, JSON.parse(json.ifAbsent));
    else members.set(name, JSON.parse(json));
  }
  return sorted(members.entries());
}

function sorted(entries: Iterable<[string, unknown]>): unknown {
  return [...entries].sort(([left], [right]) => (left < right ? -1 : 1));
}

test('editJson applies every change, for any members, spacing and repeated keys', () => {
  tryCases(caseCount(3_000), object, changes, (text, wanted) => {
    const edited = editJson(text, wanted);
    expect(sorted(Object.entries(JSON.parse(edited) as object))).toEqual(changed(text, wanted));
  });
});

test('editJson keeps all bytes outside the changed members', () => {
  const text = ' {\n  "model" : "m",\t"x": [ {"model": 1e0, "s": "}\\\\\\"{"} ],\r\n "stream":false }\n';
  expect(editJson(text, { model: '"n"' })).toBe(text.replace('"m"', '"n"'));
  expect(editJson(text, { stream: 'true' })).toBe(text.replace('false', 'true'));
  expect(editJson(text, { x: undefined })).toBe(' {\n  "model" : "m",\t"stream":false }\n');
  expect(editJson(text, { stream: undefined })).toBe(
    ' {\n  "model" : "m",\t"x": [ {"model": 1e0, "s": "}\\\\\\"{"} ] }\n',
  );
  expect(editJson('{}', { stream: 'true' })).toBe('{"stream":true}');
  expect(editJson(text, {})).toBe(text);
});

/** The names of an object's own members, as often as they are written. */
function namesIn(text: string): string[] {
  let depth = 0;
  const names: string[] = [];
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"\s*:?|[[\]{}]/g)) {
    if (token === '{' || token === '[') depth += 1;
    else if (token === '}' || token === ']') depth -= 1;
    else if (depth === 1 && token.endsWith(':')) names.push(JSON.parse(token.slice(0, -1)) as string);
  }
  return names;
}

test('removeRepeatedKeys keeps only the member with the parsed value of a repeated key', () => {
  tryCases(100, object, (text) => {
    const json = JSON.parse(text) as Record<string, unknown>;
    const single = removeRepeatedKeys(text, json);
    expect(JSON.parse(single)).toEqual(json);
    const names = namesIn(single);
    expect(names).toHaveLength(new Set(names).size);
    expect(single.length).toBeLessThanOrEqual(text.length);
  });
  expect(removeRepeatedKeys('{"model":"dear","model":"cheap"}', { model: 'cheap' })).toBe('{"model":"cheap"}');
  expect(removeRepeatedKeys('{"mod\\u0065l":"dear","model":"cheap"}', { model: 'cheap' })).toBe('{"model":"cheap"}');
  const plain = '{"model":"m","tools":[{"model":1,"name":"model"}]}';
  expect(removeRepeatedKeys(plain, JSON.parse(plain))).toBe(plain);
});
