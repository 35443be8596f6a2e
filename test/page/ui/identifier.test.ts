// @vitest-environment jsdom
import { h } from 'preact';
import { expect, test } from 'vitest';
import { Identifier } from '#page/ui/identifier.tsx';
import { renderForTest } from '#test/support/dom.ts';

const getHtmlOf = (id: string) => renderForTest(h(Identifier, { id })).querySelector('.identifier')?.innerHTML;

test.each([
  ['upstream_unreachable', 'upstream_<wbr>unreachable'],
  ['claude-haiku-5-5', 'claude-<wbr>haiku-<wbr>5-<wbr>5'],
  ['billing', 'billing'],
])('a line breaks in %s only between its words', (id, html) => {
  expect(getHtmlOf(id)).toBe(html);
});

test('a long part of an id has the whole id in its title', () => {
  const id = `tok_${'0'.repeat(40)}`;
  const part = renderForTest(h(Identifier, { id })).querySelector<HTMLElement>('.clipped');
  expect([part?.title, part?.textContent]).toEqual([id, '0'.repeat(40)]);
});
