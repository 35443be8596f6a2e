import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readBlock, readEvent, readMessage } from '#edge/kit/json/block-texts.ts';
import { keepText, parseKept, writeJson } from '#edge/kit/json/kept-text.ts';
import { indentedJson } from '#page/wire/indented-json.ts';
import { objectTexts, onOneLine, valueTexts } from '#test/support/json-texts.ts';
import { runs, tryCases } from '#test/support/runs.ts';

/** The tokens of a JSON text. */
const tokensIn = (json: string) => json.match(/"(?:[^"\\]|\\.)*"|[^\s"{}[\],:]+|[{}[\],:]/g);

test('what was kept is written as it came wherever it stands, and all else as by JSON.stringify', () => {
  tryCases(runs(1_000), fc.array(objectTexts, { maxLength: 4 }), fc.jsonValue(), (texts, beside) => {
    const kept = texts.map(parseKept);
    const value = { beside, kept, again: { ...kept }, last: kept.at(-1) };
    const plain = { beside, kept: texts.map((_, index) => index), again: { ...texts }, last: 0 };
    expect(writeJson(plain)).toBe(JSON.stringify(plain));
    const own = texts.map(onOneLine);
    const again = own.map((text, index) => `"${index}":${text}`);
    const last = own.length > 0 ? `,"last":${own.at(-1)}` : '';
    expect(writeJson(value)).toBe(`{"beside":${JSON.stringify(beside)},"kept":[${own}],"again":{${again}}${last}}`);
  });
});

test('a line end between tokens and a half of a pair in a string do not break the stream they stand in', () => {
  expect(writeJson({ input: parseKept('{\r\n"a":"\ud800"\n}') })).toBe('{"input":{  "a":"\\ud800" }}');
  expect(writeJson(keepText('text', '"other"'))).toBe('"text"');
});

test('the inputs of calls are kept, whatever stands around them and however often', () => {
  tryCases(runs(500), objectTexts, fc.constantFrom('tool_use', 'server_tool_use', 'mcp_tool_use'), (input, type) => {
    const block = `{ "input" : {"x":1.0}, "type":"${type}", "n":1.0, "input": ${input}}`;
    const written = `{"input":${onOneLine(input)},"type":"${type}","n":1}`;
    expect(writeJson(readBlock(block))).toBe(written);
    expect(writeJson(readEvent(`{"content_block":${block}}`))).toBe(`{"content_block":${written}}`);
    const content = `[{"type":"text","text":"]"},1,${block}]`;
    expect(writeJson(readMessage(`{"content":[], "content":${content}}`))).toBe(
      `{"content":[{"type":"text","text":"]"},1,${written}]}`,
    );
    expect(readMessage('[]') ?? readEvent('"') ?? readBlock('1')).toBeUndefined();
  });
});

test('indented JSON has the same tokens, and is what JSON.stringify indents where that changes none', () => {
  tryCases(runs(500), valueTexts, fc.jsonValue(), (text, json) => {
    expect(tokensIn(indentedJson(text))).toEqual(tokensIn(text));
    expect(indentedJson(JSON.stringify(json))).toBe(JSON.stringify(json, undefined, 2));
  });
});
