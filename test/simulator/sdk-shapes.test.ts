// The edge and the simulator against all that the installed SDK can send.

import { describe, expect, test } from 'vitest';
import { countRequest, defaultedRequest, messagesRequest } from '#edge/claude/messages.schema.ts';
import { MODELS } from '#edge/claude/models/models.ts';
import { toSimulatedModels } from '#edge/claude/simulated-models.ts';
import { createBatchRequest } from '#edge/plugins/batches/batches.schema.ts';
import { createSimulator } from '#simulator/simulator.ts';
import { createRequests, HEADERS, type SdkRequest } from '#test/support/sdk/requests.ts';
import { membersOf, readInstalledFile, SdkTypes } from '#test/support/sdk/types.ts';
import { get, post, start } from './api.ts';
import { BESIDE_BODIES, OLD_NAMES, OPEN, REFUSED, UNJUDGED } from './sdk-explained.ts';

// A batch has ended at the next look at it.
let clock = start;
// This is about shapes: models of which nothing is known take all.
const models = toSimulatedModels(MODELS.map((row) => ({ ...row, thinking: null })));
const simulator = createSimulator({ models, now: () => clock++ });
/** The names that the SDK has for betas: a type, so they are read as text. */
const [, union = ''] = /export type AnthropicBeta = (.*?);/s.exec(readInstalledFile('resources/beta/beta.d.ts')) ?? [];
const NAMES = [...union.matchAll(/'([^']+)'/g)].map(([, name = '']) => name);
const BETAS = { 'anthropic-beta': NAMES.join() };

function told(envelope: string): string {
  const { error } = JSON.parse(envelope) as { error: { type: string; message: string } };
  return `${error.type}: ${error.message}`;
}

/** @returns what the simulator says against a request; undefined where it accepts it */
async function refusalOf({ path }: SdkRequest, body: unknown, betas = {}): Promise<string | undefined> {
  const answer = await simulator(post(body, { 'anthropic-version': '2026-10-21', ...betas }, path));
  const text = await answer.text();
  if (!answer.ok) return `${answer.status} ${told(text)}`;
  if (path !== '/v1/messages/batches') return undefined;
  const { id } = JSON.parse(text) as { id: string };
  const result = await (await simulator(get(`${path}/${id}/results`))).text();
  return result.includes('"type":"succeeded"')
    ? undefined
    : `400 ${told(JSON.stringify(JSON.parse(result).result.error))}`;
}

/** @returns thinking that the simulator has made behind “x”, as a client sends it back */
async function madeThinking(): Promise<Record<string, unknown>> {
  const thinking = { type: 'enabled', budget_tokens: 1_024 };
  const messages = [{ role: 'user', content: 'x' }];
  const answer = await simulator(post({ model: 'claude-haiku-5-5', max_tokens: 2_000, messages, thinking }));
  const [block] = (await answer.json<{ content: Record<string, unknown>[] }>()).content;
  return { 'ThinkingBlockParam.thinking': block?.thinking, 'ThinkingBlockParam.signature': block?.signature };
}

const samples = await madeThinking();
const installed = [...createRequests(new SdkTypes(), samples)];

/** What a table names, as cases are named: an owner's members and variants. */
function namesIn(table: Readonly<Record<string, string>>): Set<string> {
  return new Set(
    Object.entries(table).flatMap(([owners, names]) =>
      owners.split(' ').flatMap((owner) => names.split(' ').map((name) => `${owner} ${name}`)),
    ),
  );
}

/** @returns a case as tables name it: the same for the beta's own types */
function plain({ name }: SdkRequest): string {
  const [, owner = '', own = ''] = /^(.*?)(?: › |\.(?=\w+$))(?!.* › )(.*)$/.exec(name) ?? [];
  return `${owner} ${own}`.replace(/\bBeta/g, '');
}

interface Findings {
  /** Refused without a beta, and taken with one. */
  brought: string[];
  /** The simulator takes whatever stands there. */
  unjudged: string[];
  /** Refused with all betas. */
  refused: string[];
  /** What failed in the simulator. */
  failed: string[];
}

async function judge(requests: readonly SdkRequest[]): Promise<Findings> {
  const found: Findings = { brought: [], unjudged: [], refused: [], failed: [] };
  for (const one of requests) {
    const name = plain(one);
    const first = await refusalOf(one, one.body);
    const refusal = first === undefined ? undefined : await refusalOf(one, one.body, BETAS);
    for (const said of [first, refusal]) if (said?.startsWith('5')) found.failed.push(`${name}: ${said}`);
    if (refusal !== undefined) found.refused.push(`${name}: ${refusal}`);
    else if (first !== undefined) found.brought.push(name);
    else if (one.unknownVariant !== undefined && (await refusalOf(one, one.unknownVariant)) === undefined)
      found.unjudged.push(name);
  }
  return found;
}

/** @returns the case that a refusal is of */
const caseOf = (said: string) => said.replace(/: .*/s, '');
const without = (names: readonly string[], known: ReadonlySet<string>) => names.filter((name) => !known.has(name));

test('the simulator accepts every beta name of the SDK', async () => {
  expect(NAMES.length).toBeGreaterThan(50);
  const body = { model: 'claude-haiku-5-5', max_tokens: 9, messages: [{ role: 'user', content: 'x' }] };
  expect((await simulator(post(body, BETAS))).status).toBe(200);
});

describe('a request of the installed SDK', () => {
  test("passes the edge's own validation", () => {
    expect(installed.length).toBeGreaterThan(3_000);
    const schemas = {
      '/v1/messages': [messagesRequest, defaultedRequest],
      '/v1/messages/count_tokens': [countRequest],
      '/v1/messages/batches': [createBatchRequest],
    };
    const refused = installed.flatMap((one) =>
      schemas[one.path as keyof typeof schemas].flatMap((schema) =>
        [one.body, one.unknownVariant ?? one.body].flatMap((body) => {
          const { error } = schema.safeParse(body);
          return error ? [`${one.name}: ${error.message}`] : [];
        }),
      ),
    );
    expect(refused).toEqual([]);
  });

  test('is known to the simulator, or listed in sdk-explained.ts with a reason', async () => {
    const found = await judge(installed);
    expect(found.failed).toEqual([]);
    const plainOnes = new Set(installed.flatMap((one) => (one.isBeta ? [] : [plain(one)])));
    const ofBetas = new Set(installed.map(plain).filter((name) => !plainOnes.has(name)));
    const [old, unjudged] = [namesIn(OLD_NAMES), namesIn(UNJUDGED)];
    const needing = new Set([...found.brought, ...found.refused.map(caseOf)]);
    expect(without(found.brought, new Set([...ofBetas, ...old])), 'what needs a beta, and is no beta’s').toEqual([]);
    const open = without([...ofBetas], needing).filter((name) => !OPEN.some(({ what }) => what.test(name)));
    expect(open, 'what is a beta’s, and needs none').toEqual([]);
    expect(without(found.unjudged, unjudged), 'where the simulator takes anything').toEqual([]);
    const unexplained = found.refused.filter((said) => !REFUSED.some(({ what }) => what.test(said)));
    expect(unexplained, 'what the simulator refuses').toEqual([]);
    // What a table explains must still be so.
    expect(OPEN.filter(({ what }) => ![...ofBetas].some((name) => what.test(name)))).toEqual([]);
    expect(without([...unjudged], new Set(found.unjudged)), 'what is judged by now').toEqual([]);
    expect(REFUSED.filter(({ what }) => !found.refused.some((said) => what.test(said)))).toEqual([]);
  });
});

test('a request with a value of another JSON type than the SDK allows is rejected, and the error names the field', async () => {
  const accepted: string[] = [];
  const misnamed: string[] = [];
  let count = 0;
  for (const one of installed) {
    if (!one.isBeta || one.wrongTypes.length === 0 || (await refusalOf(one, one.body, BETAS)) !== undefined) continue;
    const member = /\w+$/.exec(one.name)?.[0] ?? '';
    // A tool whose type is null is the caller's own, and lacks what such a tool has.
    const names =
      one.name.includes('Tool') && member === 'type' ? /\btype\b|tools\.0\.custom/ : new RegExp(`\\b${member}\\b`);
    for (const body of one.wrongTypes) {
      count++;
      const refusal = await refusalOf(one, body, BETAS);
      if (refusal === undefined) accepted.push(`${one.name}: ${JSON.stringify(body)}`);
      else if (!refusal.startsWith('400') || !names.test(refusal)) misnamed.push(`${one.name}: ${refusal}`);
    }
  }
  expect(accepted).toEqual([]);
  expect(misnamed).toEqual([]);
  expect(count).toBeGreaterThan(4_000);
});

/** Resources whose requests have no body, or a form. */
const PLAIN = ['models', 'files', 'messages.batches', 'beta.models', 'beta.files', 'beta.messages.batches'];

test('the installed SDK has only parameters outside the body that BESIDE_BODIES lists', () => {
  const resources = new SdkTypes().listResources();
  const found = PLAIN.flatMap((path) =>
    (resources.get(path) ?? []).flatMap(({ name, parameters }) =>
      parameters
        .filter((parameter) => parameter.name === 'params')
        .flatMap(({ shape }) =>
          membersOf(shape)
            .filter((member) => !HEADERS.includes(member.name))
            .map((member) => `${path.replace('beta.', '')}.${name} ${member.name}`),
        ),
    ),
  );
  const known = namesIn(BESIDE_BODIES);
  expect(without(found, known)).toEqual([]);
  expect(without([...known], new Set(found))).toEqual([]);
});

/** What an update of the SDK might bring. */
const UPDATE: readonly [before: string, after: string][] = [
  ['export interface TextBlockParam {', 'export interface TextBlockParam {\n    mood?: Mood | null;'],
  ['export type ToolUnion = ', 'export type ToolUnion = Hologram | '],
  ['export type ContentBlockParam = ', 'export type ContentBlockParam = Hologram | '],
  ['export interface MessageCreateParamsBase {', 'export interface MessageCreateParamsBase {\n    dream?: boolean;'],
  ['export interface ServerToolCaller20260120 {', 'export interface ServerToolCaller20260120 {\n    seat?: number;'],
  ["    ttl?: '5m' | '1h'", "    ttl?: '9h' | '5m' | '1h'"],
  ["'query_too_long' |", "'query_too_long' | 'query_too_odd' |"],
  [
    'export type Model =',
    "export interface Hologram {\n    type: 'hologram';\n    size: number;\n}\nexport type Model =",
  ],
  ['export type Model =', "export type Mood = 'glad' | 'sad';\nexport type Model ="],
];

test('the requests generated from the SDK types reveal fields and variants that an SDK update adds', async () => {
  const file = 'resources/messages/messages.d.ts';
  const updated = UPDATE.reduce((before, [part, more]) => {
    expect(before.split(part).length, part).toBe(2);
    return before.replace(part, more);
  }, readInstalledFile(file));
  const known = new Set(installed.map(({ name }) => name));
  const requests = [...createRequests(new SdkTypes(new Map([[file, updated]])), samples)];
  const { refused, brought, unjudged } = await judge(requests.filter(({ name }) => !known.has(name)));
  expect(refused.map(caseOf)).toEqual([
    'MessageCreateParamsNonStreaming dream',
    'MessageCreateParamsStreaming dream',
    'ToolUnion hologram',
    'CacheControlEphemeral.ttl 9h',
    'TextBlockParam mood',
    'Hologram type',
    'Hologram size',
    'TextBlockParam.mood glad',
    'TextBlockParam.mood sad',
    'TextBlockParam.mood null',
    'ContentBlockParam hologram',
    'ServerToolCaller20260120 seat',
    'WebSearchToolResultErrorCode query_too_odd',
  ]);
  expect(brought).toEqual([]);
  expect(unjudged).toEqual([]);
});
