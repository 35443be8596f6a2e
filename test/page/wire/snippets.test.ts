import { expect, test } from 'vitest';
import type { Recording } from '../../../src/page/edge/recording.ts';
import { snippetsOf } from '../../../src/page/wire/snippets.ts';

const BODY = JSON.stringify({ messages: [{ role: 'user', content: 'It\'s "$HOME" `x` \\ é\n' }] });
const recording = (more: Partial<Recording>) =>
  ({ method: 'POST', path: '/messages', headers: {}, body: BODY, events: [], ...more }) as unknown as Recording;

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

test('what is copied as curl sends what the page has sent, whatever stands in it', () => {
  const [curl] = snippetsOf(recording({}), 'https://edge.example', true);
  const given = wordsOf(curl?.code ?? '');
  expect(given.slice(0, -1)).toEqual([
    ...['curl', '-N', 'https://edge.example/messages', '-H', 'authorization: Bearer $SLUICE_TOKEN'],
    ...['-H', 'content-type: application/json', '-d'],
  ]);
  expect(JSON.parse(given.at(-1) ?? '')).toEqual(JSON.parse(BODY));
});

test('a path may have a quote, and another method is named', () => {
  const asked = recording({ method: 'DELETE', path: "/conversations/it's", body: undefined });
  const [curl] = snippetsOf(asked, 'https://edge.example', false);
  expect(wordsOf(curl?.code ?? '')).toEqual(['curl', '-N', "https://edge.example/conversations/it's", '-X', 'DELETE']);
});
