import { expect, test } from 'vitest';
import type { RecordedCall } from '#page/edge/last-calls.ts';
import { createCurlCommand } from '#page/wire/curl.ts';

const BODY = JSON.stringify({ messages: [{ role: 'user', content: 'It\'s "$HOME" `x` \\ é\n' }] });
const callOf = (more: Partial<RecordedCall>) =>
  ({ method: 'POST', path: '/messages', headers: {}, body: BODY, ...more }) as unknown as RecordedCall;

/** @returns the words that a POSIX shell makes of a command: what stands in quotes, and between them, is one word */
function wordsOf(code: string): string[] {
  const parts = /'([^']*)'|"([^"]*)"|\\([\s\S])|(\s+)|([^\s'"\\]+)/g;
  const words = [''];
  for (const [, single, double, escaped, space, plain] of code.matchAll(parts)) {
    if (space !== undefined) words.push('');
    else if (escaped !== '\n') words.push((words.pop() ?? '') + (single ?? double ?? escaped ?? plain ?? ''));
  }
  return words.filter((word) => word !== '');
}

test('a copied curl command sends the same body as the page, with every character escaped for the shell', () => {
  const given = wordsOf(createCurlCommand(callOf({}), 'https://edge.example', true));
  expect(given.slice(0, -1)).toEqual([
    'curl',
    '-N',
    'https://edge.example/messages',
    '-H',
    'authorization: Bearer $SLUICE_TOKEN',
    '-H',
    'content-type: application/json',
    '-d',
  ]);
  expect(JSON.parse(given.at(-1) ?? '')).toEqual(JSON.parse(BODY));
});

test('a copied curl command escapes quotes in the path and names a method other than POST', () => {
  const asked = callOf({ method: 'DELETE', path: "/conversations/it's", body: undefined });
  expect(wordsOf(createCurlCommand(asked, 'https://edge.example', false))).toEqual([
    'curl',
    '-N',
    "https://edge.example/conversations/it's",
    '-X',
    'DELETE',
  ]);
});
