import { readFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { expect, inject, test } from 'vitest';
import { settingsShape } from '../src/edge/gate/settings/settings.ts';
import { CORE_HEADER_WORDS } from '../src/edge/kit/http/headers/answer-headers.ts';
import { descriptionOf } from '../src/edge/kit/http/zod.ts';
import '../scripts/all-rooms.mjs';

/**
 * Its schemas are those of zod/mini, its router is Hono's small one, and what only types and the reference need stays out.
 *
 * It was 180 kB until files, batches, classification by batch and runs came in, which take 6 to 13 kB each, and 210 kB until
 * agents did: their storage, MCP, approvals and subagents take 4 to 6 kB each. Backup and restore, and days to choose for what
 * was asked, brought it from 226 kB to 231; masks of a gateway's errors, and objects that wake with fewer queries, from 234 to
 * 236. Since then 8 kB keep one caller from stopping the others, questions from being lost, old versions from answering, thinking
 * from going where the API refuses it, and damage in its own conversation. Books of what does not end by itself take 6: what loops
 * of tools can have done in silence, tries that cost one worst case together, a line in place of refusals, whole answers that ride
 * on streams, and what is learned of a model's speed. Ends that are ends take 3: of credentials, of keys that are refused, of what
 * answers have made, and room for what runs read and send, which nobody can take from the others. A log that grows, and is
 * written over, takes one, a grant that its account keeps 0.3, tokens that are bound to agents, and renewed, 4, visitors and tools
 * that are hidden from them 10. Summaries, histories that are brought in, and what agents may have beside their tools take 8. Answers that are
 * shown as text take 0.8, what an operator asks of all accounts takes 2.2, and one is left for what is small, such as a source of webhooks.
 * Metrics, and the sums of how fast answers are, take 2.8, the choice of a model and what it saves 4.4.
 * Labels without thinking take 0.2, what each model takes, and room for text, 1.7, errors that are judged by their codes 1.6.
 * What goes to a model that was not named takes 1.2; parts of packages that nothing uses gave 9.6 back.
 * What a limit says of searches that it cannot pay takes 0.4, numbers as text, ids, counts and refusals of gateways 3.7.
 * Seams by which each room can be left out, with what stored things do without it, take 6.4; the core alone has 96 less than all.
 * The tightest limit of each account, whose limit has lowered an answer, and versions in backups take 1.9.
 * A platform's free plan allows 3 MB.
 */
const LIMIT_BYTES = 302_300;

test(`the deployed Worker is at most ${LIMIT_BYTES / 1_000} kB, compressed`, () => {
  expect(gzipSync(inject('deployed').code, { level: 9 }).length).toBeLessThanOrEqual(LIMIT_BYTES);
});

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
