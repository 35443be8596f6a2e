/** Answers of the real API, as `npm run prove` has written them: what reads answers must read these, too. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { computeCost, toUsd } from '#edge/claude/pricing/cost.ts';
import { UsageReader } from '#edge/claude/usage/usage-reader.ts';
import { createResponseReport } from '#edge/claude/usage/usage-report.ts';
import { StreamedMessageJson } from '#edge/claude/whole-message.ts';
import { registerSecrets } from '#edge/kit/http/secrets.ts';
import { createSimulator } from '#edge/toolkit/simulator.ts';
import { type ProveCall, proveCalls, TABLE } from '../../../scripts/prove-calls.ts';
import { expectedPrice, findDifferences, readFacts } from '../../../scripts/prove-judge.ts';
import { createFixture, type Fixture, type ProvedCall, prove } from '../../../scripts/prove-run.ts';

const ROOT = join(import.meta.dirname, '../../..');
const KEY = 'sk-ant-the-key-that-nobody-may-see';
const IDS = ['file_1', 'msg_1', 'req_1', 'srvtoolu_2', 'toolu_2'];
const SEALED = ['"encrypted_content":"sealed"', '"signature":"sealed"'];

async function fixturesIn(folder: string): Promise<Fixture[]> {
  const names = await readdir(folder).catch(() => []);
  const texts = names.filter((name) => name.endsWith('.json')).map((name) => readFile(join(folder, name), 'utf8'));
  return (await Promise.all(texts)).map((text) => JSON.parse(text) as Fixture);
}

/** Sends the calls to a simulator alone. */
async function simulated(calls: ProveCall[], more: (text: string) => string = (text) => text): Promise<ProvedCall[]> {
  const simulate = createSimulator({ seed: 'proved' });
  const edge = async (path: string, init: RequestInit) => {
    const response = await simulate(`https://api.test${path}`, init);
    return new Response(more(await response.text()), response);
  };
  return await Array.fromAsync(prove(calls, { edge, run: 'proved', isBooked: false, pause: async () => {} }));
}

/** What the edge's own readers say that an answer costs. */
function readByEdge({ type, text }: Fixture): number | undefined {
  const bytes = new TextEncoder().encode(text);
  if (!type.startsWith('text/event-stream'))
    return costOf(createResponseReport(JSON.parse(text) as object, bytes.length));
  const whole = new StreamedMessageJson();
  whole.addPiece(bytes.slice());
  expect(whole.isComplete).toBe(true);
  const reader = new UsageReader();
  reader.addPiece(bytes, true);
  return costOf(reader.completeStreamReport ?? reader.currentReport);
}

function costOf({
  model,
  usage,
}: Pick<ReturnType<typeof createResponseReport>, 'model' | 'usage'>): number | undefined {
  const row = TABLE.findRow(model ?? '');
  return row && usage && toUsd(computeCost(usage, row));
}

/** @returns where fixtures differ from what the simulator, the table and the edge's readers say today */
async function replay(fixtures: readonly Fixture[]): Promise<string[]> {
  const expected = new Map((await simulated(proveCalls())).map((one) => [one.call.name, one]));
  const facts = new Map(fixtures.map((fixture) => [fixture.call, readFacts(fixture)]));
  return fixtures.flatMap((fixture) => {
    const { call: name, status, cost_usd } = fixture;
    const { call, expected: was } = expected.get(name) ?? {};
    if (call === undefined || was === undefined) return [`${name} is not sent any more: delete its file`];
    const found = findDifferences(call, was, readFacts(fixture), facts.get(call.after ?? ''));
    const read = status === 200 && !call.stops && cost_usd !== null ? readByEdge(fixture) : cost_usd;
    if (read !== cost_usd) found.push(`$${cost_usd} was booked, $${read} is read today`);
    return found.map((words) => `${name}: ${words}`);
  });
}

const proved = await fixturesIn(join(ROOT, 'test/fixtures/proved'));

test('the README states what was verified against the live API, and when', async () => {
  const readme = await readFile(join(ROOT, 'README.md'), 'utf8');
  const [, status = ''] = /\n\*\*Status:\*\* ([\s\S]*?)\n\n/.exec(readme) ?? [];
  const [since = ''] = proved.map(({ proved: at }) => at.slice(0, 10)).sort();
  const calls = new Set(proved.map(({ call }) => call)).size;
  const sentence =
    proved.length === 0
      ? 'not yet verified against the live API.'
      : `verified against the live API: ${calls} of ${proveCalls().length} calls, the oldest on ${since}.`;
  expect(status.split(/\s+/).join(' ')).toContain(sentence);
});

test(`each of the ${proved.length} recorded live responses is still as expected, and costs what was booked`, async () => {
  expect(await replay(proved)).toEqual([]);
});

describe('a recorded response', () => {
  let folder = '';
  let written: Fixture[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sluice-proved-'));
    registerSecrets('prove', [KEY]);
    // What a gateway might say of the key, in an answer and in an error.
    const quoting = (text: string) => text.replace(/"(text|message)": ?"/g, `$&${KEY} `);
    for (const one of await simulated(proveCalls(), quoting)) {
      const price = expectedPrice(one.came);
      const booked = price === undefined ? undefined : ({ cost_usd: toUsd(price) } as ProvedCall['booked']);
      const text = createFixture({ ...one, booked }, '2026-11-27T12:00:00.000Z');
      await writeFile(join(folder, `${one.call.name}.json`), text);
    }
    written = await fixturesIn(folder);
  });

  afterAll(async () => {
    registerSecrets('prove', []);
    await rm(folder, { recursive: true, force: true });
  });

  test('is read, matches the simulator’s current response, and costs what was booked', async () => {
    expect(written.map(({ call }) => call).sort()).toEqual(
      proveCalls()
        .map(({ name }) => name)
        .sort(),
    );
    expect(await replay(written)).toEqual([]);
  });

  test.each<[string, Partial<Fixture>, string]>([
    ['what was booked', { cost_usd: 1 }, 'stream: $1 was booked, $0.'],
    [
      'its answer',
      { text: 'event: message_stop\ndata: {"type":"message_stop"}\n\n', cost_usd: null },
      'stream: missing: model',
    ],
    ['its call', { call: 'gone' }, 'gone is not sent any more: delete its file'],
  ])('is reported if %s has changed', async (_, change, words) => {
    const changed = written.filter(({ call }) => call === 'stream').map((fixture) => ({ ...fixture, ...change }));
    expect((await replay(changed)).join('; ')).toContain(words);
  });

  test('contains neither the key nor the ids and signatures of an account', () => {
    const all = written.map(({ text }) => text).join('\n');
    const found = (pattern: RegExp) => [...new Set(all.match(pattern))];
    expect(found(/\[secret]/g)).toHaveLength(1);
    expect(found(new RegExp(KEY, 'g'))).toEqual([]);
    expect(found(/\b(?:msg|req|toolu|srvtoolu|file)_(?!deleted)\w+/g).sort()).toEqual(IDS);
    expect(found(/"(?:signature|encrypted_content)":"[^"]+"/g).sort()).toEqual(SEALED);
  });
});
