import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  parseBlockRememberingInput,
  parseEventRememberingInput,
  parseMessageRememberingInputs,
} from '#edge/kit/json/input-texts.ts';
import {
  parseJsonRememberingText,
  rememberJsonText,
  stringifyWithRememberedTexts,
} from '#edge/kit/json/remembered-text.ts';
import { indentJson } from '#page/wire/indented-json.ts';
import { arbitraryObjectTexts, arbitraryValueTexts, toOneLine } from '#test/support/json-texts.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

/** The tokens of a JSON text. */
const tokensIn = (json: string) => json.match(/"(?:[^"\\]|\\.)*"|[^\s"{}[\],:]+|[{}[\],:]/g);

test('writes a remembered text as received, and every other value as JSON.stringify does', () => {
  tryCases(caseCount(1_000), fc.array(arbitraryObjectTexts, { maxLength: 4 }), fc.jsonValue(), (texts, beside) => {
    const kept = texts.map(parseJsonRememberingText);
    const value = { beside, kept, again: { ...kept }, last: kept.at(-1) };
    const plain = { beside, kept: texts.map((_, index) => index), again: { ...texts }, last: 0 };
    expect(stringifyWithRememberedTexts(plain)).toBe(JSON.stringify(plain));
    const own = texts.map(toOneLine);
    const again = own.map((text, index) => `"${index}":${text}`);
    const last = own.length > 0 ? `,"last":${own.at(-1)}` : '';
    expect(stringifyWithRememberedTexts(value)).toBe(
      `{"beside":${JSON.stringify(beside)},"kept":[${own}],"again":{${again}}${last}}`,
    );
  });
});

test('writes a remembered text on one line, with lone surrogates escaped', () => {
  expect(stringifyWithRememberedTexts({ input: parseJsonRememberingText('{\r\n"a":"\ud800"\n}') })).toBe(
    '{"input":{  "a":"\\ud800" }}',
  );
  expect(stringifyWithRememberedTexts(rememberJsonText('text', '"other"'))).toBe('"text"');
});

test('remembers the texts of tool inputs in blocks, events and messages, with any fields around them', () => {
  tryCases(
    caseCount(500),
    arbitraryObjectTexts,
    fc.constantFrom('tool_use', 'server_tool_use', 'mcp_tool_use'),
    (input, type) => {
      const block = `{ "input" : {"x":1.0}, "type":"${type}", "n":1.0, "input": ${input}}`;
      const written = `{"input":${toOneLine(input)},"type":"${type}","n":1}`;
      expect(stringifyWithRememberedTexts(parseBlockRememberingInput(block))).toBe(written);
      expect(stringifyWithRememberedTexts(parseEventRememberingInput(`{"content_block":${block}}`))).toBe(
        `{"content_block":${written}}`,
      );
      const content = `[{"type":"text","text":"]"},1,${block}]`;
      expect(stringifyWithRememberedTexts(parseMessageRememberingInputs(`{"content":[], "content":${content}}`))).toBe(
        `{"content":[{"type":"text","text":"]"},1,${written}]}`,
      );
      expect(
        parseMessageRememberingInputs('[]') ?? parseEventRememberingInput('"') ?? parseBlockRememberingInput('1'),
      ).toBeUndefined();
    },
  );
});

test('indented JSON has the same tokens, and equals the output of JSON.stringify for its own texts', () => {
  tryCases(caseCount(500), arbitraryValueTexts, fc.jsonValue(), (text, json) => {
    expect(tokensIn(indentJson(text))).toEqual(tokensIn(text));
    expect(indentJson(JSON.stringify(json))).toBe(JSON.stringify(json, undefined, 2));
  });
});
