import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CLIENT_FAMILIES, type ClientFamily, identifyClientFamily } from '#edge/kit/http/headers/client-family.ts';
import { tryCases } from '#test/support/property-cases.ts';

const BROWSER = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0';

test.each<[ClientFamily, Record<string, string>]>([
  ['claude-code', { 'user-agent': 'claude-cli/2.1.197 (external, cli)', 'x-stainless-lang': 'js' }],
  ['anthropic-sdk-typescript', { 'user-agent': 'Anthropic/JS 0.122.0', 'x-stainless-lang': 'js' }],
  ['anthropic-sdk-typescript', { 'user-agent': BROWSER, 'x-stainless-lang': 'js' }],
  ['anthropic-sdk-typescript', { 'user-agent': 'Anthropic/JS 1.10.0' }],
  ['anthropic-sdk-python', { 'user-agent': 'AsyncAnthropic/Python 0.80.0', 'x-stainless-lang': 'python' }],
  ['anthropic-sdk-python', { 'user-agent': 'Anthropic/Python 0.80.0' }],
  ['anthropic-sdk-other', { 'user-agent': 'Anthropic/Go 1.2.0', 'x-stainless-lang': 'go' }],
  ['ai-sdk', { 'user-agent': 'ai/7.0.173 ai-sdk-provider-utils/5.0.81 node.js/24' }],
  ['browser', { 'user-agent': BROWSER }],
  ['curl', { 'user-agent': 'curl/8.5.0' }],
  ['other', { 'user-agent': 'my-tool/1.0 curl/8.5.0' }],
  ['other', {}],
])('identifies %s by %o', (family, headers) => {
  expect(identifyClientFamily(new Headers(headers))).toBe(family);
});

test('any headers are identified as one of the families', () => {
  const value = fc.string({ unit: 'grapheme-ascii', maxLength: 200 });
  tryCases(100, value, value, (userAgent, language) => {
    const headers = new Headers({ 'user-agent': userAgent, 'x-stainless-lang': language });
    expect(CLIENT_FAMILIES).toContain(identifyClientFamily(headers));
  });
});
