import { readFile } from 'node:fs/promises';
import { expect, inject, test } from 'vitest';
import { settingsShape } from '../src/edge/gate/settings/settings.ts';
import { CORE_HEADER_WORDS } from '../src/edge/kit/http/headers/answer-headers.ts';
import { descriptionOf } from '../src/edge/kit/http/zod.ts';
import '../scripts/all-rooms.mjs';

test('one router is deployed', () => {
  const routers = inject('deployed').files.filter((file) => /\/hono\/dist\/router\/[^/]+\/router\.js$/.test(file));
  expect(routers).toEqual([expect.stringContaining('/trie-router/')]);
});

test('what only the reference and types are made of is not deployed', () => {
  const { files } = inject('deployed');
  expect(files).toContain('src/edge/claude/messages.schema.ts');
  const isLeftOut = (file: string) => /-answers\.schema\.ts$|\.reference\.ts$|^src\/reference\//.test(file);
  expect(files.filter(isLeftOut)).toEqual([]);
});

test('of the official SDK its strict schemas alone are deployed, and not its client', () => {
  const ofSdk = inject('deployed').files.filter((file) => file.includes('/@anthropic-ai/sdk/'));
  expect(ofSdk.map((file) => file.split('/sdk/')[1]).toSorted()).toEqual([
    'internal/utils/values.mjs',
    'lib/transform-json-schema.mjs',
  ]);
});

test('no description of a schema is deployed, and none of a header', async () => {
  const { code } = inject('deployed');
  const descriptions = Object.values(settingsShape()).flatMap((setting) => descriptionOf(setting) ?? []);
  expect(descriptions.length).toBeGreaterThan(20);
  expect(descriptions.filter((description) => code.includes(description))).toEqual([]);
  // By its address: what a room imports has the types of the Worker.
  const { AGENT_HEADER_WORDS } = await import(new URL('../src/edge/rooms/agents/room.ts', import.meta.url).href);
  const words = [...Object.values(CORE_HEADER_WORDS), ...Object.values(AGENT_HEADER_WORDS)].map(String);
  expect(words.filter((text) => code.includes(text.replace('’', '\\u2019')) || code.includes(text))).toEqual([]);
});

test('what is deployed words its refusals in English, as zod/mini does only when it is told to', () => {
  const { code, files } = inject('deployed');
  expect(files).toContain('node_modules/zod/v4/locales/en.js');
  // What it calls formats of strings is left out: no schema has one but a pattern.
  expect(code).toContain('$ZodCheckRegex');
  expect(code).not.toContain('$ZodStringFormat');
});

test('parts of packages that nothing calls are not deployed', async () => {
  const { code, files } = inject('deployed');
  expect(files.filter((file) => /\/hono\/dist\/utils\/(mount|body)\.js$/.test(file))).toEqual([]);
  const words = [
    'Nesting limit',
    'isEscaped',
    'backblazeb2',
    'UNSIGNED-PAYLOAD',
    'toCryptoKey',
    'clockTolerance',
    'formData',
    'ERR_JWT',
    'ML-DSA',
    'Critical',
  ];
  expect(words.filter((word) => code.includes(word))).toEqual([]);
  const sources = await Promise.all(
    files.filter((file) => file.startsWith('src/')).map((file) => readFile(file, 'utf8')),
  );
  expect(sources.length).toBeGreaterThan(100);
  const calls =
    /\.(?:mount|fire|render|parseBody|html|redirect|parseAsync|safeParseAsync|setNotBefore)\(|(?<!\b(?:JSON|URL|Date))\.parse\(/g;
  const ofBody = /\breq\.(?:json|text|arrayBuffer|bytes|blob|formData|valid|matchedRoutes|routePath)\b/g;
  const options =
    /\b(?:clockTolerance|maxTokenAge|jwksCache|skipChecks|signQuery|appendSessionToken|safeEncode|safeDecode|cacheMaxAge)\b/g;
  const ofZod =
    /\bz\.(?:startsWith|endsWith|includes|multipleOf|discriminatedUnion|xor|templateLiteral|codec|file|map|set|tuple)\(/g;
  const ofJose = /'(?:HS384|HS512|Ed25519|ML-DSA-\d+)'|\binstanceof z\.|'ERR_J/g;
  const used = [calls, ofBody, options, ofZod, ofJose].flatMap((words) =>
    sources.flatMap((source) => source.match(words) ?? []),
  );
  expect(used).toEqual([]);
});

test('nothing of the simulator is deployed', () => {
  const { files } = inject('deployed');
  expect(files).toContain('src/edge/claude/upstream.ts');
  expect(files.filter((file) => file.includes('simulator'))).toEqual([]);
});
