import { expect, test } from 'vitest';
import { accountStub } from '../../../../src/edge/kit/objects/stubs.ts';
import { brokenRule } from '../../../support/api-rules.ts';
import { bodyOf } from '../../../support/app.ts';
import { bindings, conversationsReach, readOf, rowsOf, simulate, stubOf } from '../../../support/conversations.ts';
import { eventually } from '../../../support/eventually.ts';
import { ask } from '../../../support/turns.ts';
import { simulatorWithoutThinking } from '../../../support/without-thinking.ts';

interface Up {
  messages: Parameters<typeof brokenRule>[0];
  max_tokens: number;
  compaction?: object;
}

const UNKNOWN = { type: 'invalid_request_error', message: 'compaction: Extra inputs are not permitted' };

/** Has conversations answered by the simulator, which is seen from outside: as an upstream with blocks or without. */
function upstreamOf({ blocks = true, vars = {} as Record<string, string> } = {}) {
  const settings = simulate(vars);
  const sent: Up[] = [];
  const refusedCounts: string[] = [];
  let failure: string | undefined;
  const simulator = simulatorWithoutThinking({ ttftMs: 0, tokensPerSecond: 0 });
  conversationsReach(
    async (url, init) => {
      const text = await new Response(init.body ?? '').text();
      const body = JSON.parse(text) as Up;
      if (url.includes('count_tokens')) {
        const counted = await simulator(new Request(url, { ...init, body: text }));
        if (!counted.ok) refusedCounts.push(await counted.clone().text());
        return counted;
      }
      sent.push(body);
      const { messages } = body;
      expect(brokenRule(messages)).toBeUndefined();
      if (failure !== undefined && JSON.stringify(messages[0]).includes('"compaction"')) {
        const error = { type: 'invalid_request_error', message: 'No.', details: { error_code: failure } };
        return Response.json({ type: 'error', error }, { status: 400 });
      }
      if (body.compaction && !blocks) return Response.json({ type: 'error', error: UNKNOWN }, { status: 400 });
      const answer = await simulator(new Request(url, { ...init, body: text }));
      return new Response(bodyOf([await answer.bytes()]), answer);
    },
    { baseURL: `https://${blocks ? 'with' : 'without'}-blocks.test` },
  );
  const fail = (code: string) => {
    failure = code;
  };
  return { sent, refusedCounts, settings, fail };
}

const place = { account: 'alice', id: 'c1' };
const SUMMARIZED = { max_tokens: 2_000, strategy: 'summarize' as const };
const question = (content: string, more: object = {}) => ({ messages: [{ role: 'user', content }], ...more });
const long = (n: number) =>
  `Box ${n} has come. ${'And so on, as before. '.repeat(30)}Remember: box ${n} is number ${1_000 + n}.`;

async function createWith(history: object = SUMMARIZED) {
  await stubOf().create(place, { model: 'claude-opus-5-5', max_tokens: 60, history } as never, {});
}

interface Summary {
  until: string;
  content: string;
  cost_usd: number;
}

/** The summaries of a conversation, once there is one. */
async function summariesOf(id = 'c1'): Promise<Summary[]> {
  await eventually(async () => expect((await readOf(id))?.summaries).not.toHaveLength(0));
  return (await readOf(id))?.summaries as Summary[];
}

/** Says something again and again. @returns what was refused to each turn: nothing, or its oldest turns */
async function talk(turns: number, from = 0): Promise<(string | undefined)[]> {
  const told: (string | undefined)[] = [];
  for (let turn = from; turn < from + turns; turn += 1) {
    const answer = await ask(question(long(turn)));
    if (answer.kind !== 'stream') throw new Error(JSON.stringify(answer));
    told.push(answer.headers['sluice-history']);
    await new Response(answer.body).text();
  }
  return told;
}

test.each([
  { form: 'the API’s own block', blocks: true },
  { form: 'a text, where the upstream makes no block', blocks: false },
])('above its limit a conversation goes on behind a summary of its oldest turns: $form', async ({ blocks }) => {
  const { sent } = upstreamOf({ blocks });
  await createWith();
  expect(new Set(await talk(24))).toEqual(new Set([undefined]));
  const turns = sent.filter(({ compaction, max_tokens }) => !compaction && max_tokens === 60);
  const last = JSON.stringify(turns.at(-1)?.messages);
  expect(last).toContain(blocks ? '"type":"compaction"' : 'This is a summary');
  for (let turn = 0; turn < 24; turn += 1) expect(last).toContain(`Remember: box ${turn} is number ${1_000 + turn}`);
  const summaries = await summariesOf();
  expect(summaries.length).toBeGreaterThan(1);
  for (const { cost_usd } of summaries) expect(cost_usd).toBeGreaterThan(0);
  expect(await rowsOf()).toHaveLength(48);
});

test('a summary begins behind an answer whose prompt was in the cache, and nobody waits for it', async () => {
  const { sent } = upstreamOf();
  await createWith({ ...SUMMARIZED, max_tokens: 4_000 });
  await talk(16);
  await summariesOf();
  const at = sent.findIndex(({ compaction }) => compaction !== undefined);
  // The turn before it has not waited: it had gone up without one.
  expect(sent.slice(0, at).every(({ messages }) => JSON.stringify(messages[0]).includes('Box 0'))).toBe(true);
  const [turn, summary] = [sent[at - 1], sent[at]];
  // What is asked for begins as the turn before, so that it is read from the cache.
  expect(JSON.stringify(turn?.messages)).toContain(JSON.stringify(summary?.messages).slice(1, -1));
});

test('each summary reads its prompt from the cache, and not only the first one', async () => {
  const { sent } = upstreamOf();
  await createWith({ ...SUMMARIZED, max_tokens: 4_000 });
  await talk(40);
  const texts = sent.map(({ messages }) => messages.map((message) => JSON.stringify(message)));
  const summaries = sent.flatMap(({ compaction }, at) => (compaction ? [at] : []));
  expect(summaries.length).toBeGreaterThan(2);
  for (const at of summaries) {
    // The cache has whole prompts, and what begins as one of them reads that.
    const own = texts[at] ?? [];
    const before = texts.slice(0, at).filter((_, nth) => !sent[nth]?.compaction);
    expect(before.some((prompt) => prompt.every((message, nth) => message === own[nth]))).toBe(true);
  }
});

test('the setting decides what a summary is told, and how long it may be', async () => {
  const { sent } = upstreamOf();
  await createWith({ ...SUMMARIZED, instructions: 'Keep the numbers.', summary_max_tokens: 700 });
  await talk(9);
  await eventually(() => expect(sent.some(({ compaction }) => compaction)).toBe(true));
  expect(sent.find(({ compaction }) => compaction)).toMatchObject({
    compaction: { type: 'summarize', instructions: 'Keep the numbers.' },
    // What it may think, beside 256 tokens of text, has room of its own.
    max_tokens: 700 + 2_048 - 256,
  });
});

test('a rewind to before its end voids a summary, and what goes up is as if it had never been', async () => {
  const { sent } = upstreamOf();
  await createWith();
  await talk(10);
  const summaries = await summariesOf();
  const rows = await rowsOf();
  const end = rows.findIndex(({ id }) => id === summaries[0]?.until);
  expect(rows[end]?.role).toBe('assistant');
  const before = rows[end - 3];
  await stubOf().rewind(String(before?.id));
  expect((await readOf())?.summaries).toEqual([]);
  await talk(1, 20);
  const last = sent.filter(({ compaction }) => !compaction).at(-1)?.messages ?? [];
  expect(last).toHaveLength(end - 3 + 1);
  expect(last.slice(0, -1).map(({ content }) => JSON.stringify(content))).toEqual(
    rows.slice(0, end - 3).map(({ content }) => JSON.stringify(content)),
  );
});

test('a fork behind the range of a summary takes it, and one within does not', async () => {
  const { sent } = upstreamOf();
  await createWith();
  await talk(10);
  const summaries = await summariesOf();
  const rows = await rowsOf();
  const end = rows.findIndex(({ id }) => id === summaries[0]?.until);
  await stubOf().fork('behind', rows.at(-1)?.id);
  await stubOf().fork('within', rows[end - 2]?.id);
  const upFrom = async (id: string) => {
    const answer = await ask(question('And now?'), { id });
    if (answer.kind === 'stream') await new Response(answer.body).text();
    return sent.filter(({ compaction }) => !compaction).at(-1)?.messages ?? [];
  };
  expect((await upFrom('behind'))[0]).toMatchObject({ content: [{ type: 'compaction' }] });
  expect((await readOf('behind'))?.summaries).toEqual(summaries);
  expect(await upFrom('within')).toHaveLength(end - 2 + 2);
  expect(await readOf('within')).not.toHaveProperty('summaries');
});

test('after an error about its block a turn goes up once more, with the words of the summary', async () => {
  const { sent, fail } = upstreamOf();
  await createWith();
  await talk(10);
  await summariesOf();
  fail('compaction_signature_invalid');
  const before = sent.length;
  expect(await talk(2, 10)).toEqual([undefined, undefined]);
  const [refused, again, next] = sent.slice(before).filter(({ compaction }) => !compaction);
  expect(JSON.stringify(refused?.messages[0])).toContain('"type":"compaction"');
  expect(JSON.stringify(again?.messages[0])).toContain('This is a summary');
  expect(JSON.stringify(again?.messages)).toContain('Remember: box 0 is number 1000');
  // It is not asked twice.
  expect(JSON.stringify(next?.messages[0])).toContain('This is a summary');
  expect(await rowsOf()).toHaveLength(24);
});

test('where the account cannot hold a summary, the turn goes up without its oldest turns, and says so', async () => {
  const { sent } = upstreamOf({ vars: { DEFAULT_LIMITS: '{"usd_per_day":0.06}' } });
  await createWith({ ...SUMMARIZED, summary_max_tokens: 1_999 });
  const told: unknown[] = [];
  for (let turn = 0; !told.includes('truncated') && turn < 16; turn += 1) told.push(...(await talk(1, turn)));
  expect(told.at(-1)).toBe('truncated');
  expect(sent.some(({ compaction }) => compaction)).toBe(false);
  expect((await readOf())?.summaries).toEqual([]);
  const account = accountStub(bindings, {}, 'alice');
  await eventually(async () => expect((await account.standing()).day.held_usd).toBe(0));
});

test('at the end of a budget nobody has the prompt of a block counted, which the API would refuse', async () => {
  const { refusedCounts } = upstreamOf({ vars: { DEFAULT_LIMITS: '{"usd_per_day":0.08}' } });
  await createWith({ ...SUMMARIZED, summary_max_tokens: 900 });
  const told: unknown[] = [];
  for (let turn = 0; turn < 14; turn += 1) told.push(...(await talk(1, turn)));
  expect(told).toContain('truncated');
  expect(refusedCounts).toEqual([]);
});

test('sent again, a turn without its oldest turns says so again', async () => {
  upstreamOf({ vars: { DEFAULT_LIMITS: '{"usd_per_day":0.06}' } });
  await createWith({ ...SUMMARIZED, summary_max_tokens: 1_999 });
  const told: (string | undefined)[][] = [];
  for (let turn = 0; turn < 10; turn += 1) {
    const both: (string | undefined)[] = [];
    for (const _ of ['first', 'again']) {
      const answer = await ask(question(long(turn)), { key: `turn-${turn}` });
      if (answer.kind !== 'stream') throw new Error(JSON.stringify(answer));
      both.push(answer.headers['sluice-history']);
      await new Response(answer.body).text();
    }
    told.push(both);
  }
  expect(told.flat()).toContain('truncated');
  for (const [first, again] of told) expect(again).toBe(first);
});
