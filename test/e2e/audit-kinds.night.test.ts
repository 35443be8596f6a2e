/**
 * Books interrupted answers over HTTP by kind. `test/edge/money/admission/audit-kinds.night.test.ts` has more cases of each kind, but
 * no connections, no counts by an upstream, and no process that dies.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import {
  type Answer,
  CLOSE_NOTICE_MS,
  type Class,
  computeBill,
  createAnswer,
  createRandom,
  modelOfCase,
} from '#test/support/audit.ts';
import { type Edge, startEdge, startEdgeOfClaudeApi } from '#test/support/edge.ts';
import { FigureTable } from '#test/support/figure-table.ts';
import { AuditedApi, type HttpCase, readBooked, readJson, wait } from '#test/support/http-audit.ts';
import { SECRET } from '#test/support/tokens.ts';
import { sseEvent } from '#test/support/wire.ts';

/** A case with its bill, in nanodollars. */
interface BilledCase extends HttpCase {
  billed: number;
}

/** Milliseconds until all ends but those of complete answers. */
const MAX_END_MS = 4_000;
const CASES = 12;
/** How many cases run at a time, beside those that hang. */
const CONCURRENT = 30;
/** How much later the API notices the end, over a network. */
const NETWORKS_MS = [0, 60, 100];
const SECOND = 'claude-opus-5-5';
const FALLBACKS = { fallbacks: [{ model: SECOND }] };
const ADVISOR = { tools: [{ type: 'advisor_20260301', name: 'advisor', model: SECOND, max_uses: 3 }] };

let api: AuditedApi;
/** An edge whose upstream is the Claude API, and one before a gateway. */
let edge: Edge;
let gateway: Edge;
/** An edge as the first one, which loses its power. */
let mortal: Edge;
let folder: string;
const figures = new FigureTable();

const SETTINGS = {
  SIGNING_SECRET: SECRET,
  ANTHROPIC_API_KEY: 'sk-ant-of-the-deployment',
  UPSTREAM_MAX_RETRIES: '0',
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-'));
  api = await AuditedApi.start();
  edge = await startEdgeOfClaudeApi(api.receive, inject('deployed').code, SETTINGS);
  gateway = await startEdge(inject('deployed').code, { ...SETTINGS, ANTHROPIC_BASE_URL: api.url });
  mortal = await startEdgeOfClaudeApi(api.receive, inject('deployed').code, SETTINGS, folder);
});

afterAll(async () => {
  figures.print();
  for (const one of [edge, gateway, mortal]) await one.stop();
  await api.stop();
  await rm(folder, { recursive: true, force: true });
});

/** @returns answers of a class, each of another model */
function createAnswers(kind: Class, count = CASES, more: object = {}): Answer[] {
  return Array.from({ length: count }, (_, seed) => {
    const answer = createAnswer(kind, modelOfCase(kind, seed), createRandom(seed + 9_000), { mosts: [256] });
    return { ...answer, body: { ...answer.body, ...more } };
  });
}

const firstEventAt = ({ actions }: Answer) => actions.find(({ event }) => event !== undefined)?.at ?? 0;
const promptOf = ({ actions }: Answer) => actions[0]?.prompt ?? 0;
/** @returns what the API bills for the prompt only */
const billPrompt = (answer: Answer) => computeBill({ ...answer, actions: answer.actions.slice(0, 1) }, 0);

/** @returns a time between the first event and the last */
function drawEnd(answer: Answer, seed: number): number {
  const last = (answer.actions.at(-1)?.at ?? 0) * 0.98;
  return createRandom(seed)(firstEventAt(answer), Math.min(MAX_END_MS, last));
}

/** Makes a case, and tells the API of it. */
function createCase(kind: string, more: Omit<BilledCase, 'name' | 'count'> & { count?: number }): BilledCase {
  const name = `case-${created}-${kind}`;
  created += 1;
  return api.add({ name, count: promptOf(more.answer), ...more });
}
let created = 0;

/** @returns cases that are stopped between their first event and their last */
function stopAnywhere(kind: string, answers: readonly Answer[]): BilledCase[] {
  return answers.map((answer, nth) => {
    const endsAt = drawEnd(answer, nth);
    const billed = computeBill(answer, endsAt + CLOSE_NOTICE_MS);
    return createCase(kind, { answer, end: 'stopped', endsAt, billed });
  });
}

/** Lets cases end, a few at a time. @returns what each is booked at, beside its bill */
async function bookAll(cases: readonly BilledCase[], at: Edge): Promise<[number, number][]> {
  const booked: [number, number][] = [];
  const rest = [...cases];
  const work = async () => {
    for (let one = rest.shift(); one; one = rest.shift()) {
      await finish(one, at);
      booked.push([await readBooked(at, one.name, one.end !== 'complete'), one.billed]);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENT }, work));
  return booked;
}

/** Lets an answer end. */
async function finish(one: BilledCase, at: Edge): Promise<void> {
  const { over } = await api.begin(one, at);
  if (one.end === 'stopped') await api.stopTurn(one, at);
  else if (one.end === 'cut') api.cut(one);
  await over;
}

const EXACT = 1 - 1e-9;

test.each([
  ['fallbacks', FALLBACKS],
  ['an advisor', ADVISOR],
] as const)('settles a stopped response with %s that never started at least at the billed cost', async (kind, more) => {
  const cases = stopAnywhere('never', createAnswers('text', CASES, more));
  expect(figures.addKind(`${kind}: never begins`, await bookAll(cases, edge)).least).toBeGreaterThanOrEqual(EXACT);
});

test.each(['handed', 'advised'] as const)(
  'settles stopped responses with a second model at least at the sum of their billed costs: %s',
  async (kind) => {
    const answers = createAnswers(kind, 4 * CASES);
    const anywhere = await bookAll(stopAnywhere(kind, answers), edge);
    expect(figures.addKind(`${kind}: at any time`, anywhere).sum).toBeGreaterThanOrEqual(1);
    // These are the named exceptions: the sum above is of all ends.
    const justBefore = answers.flatMap((answer, nth) => {
      const begun = answer.actions.find(({ at, by, prompt }) => at > 0 && by && prompt !== undefined)?.at ?? 0;
      const endsAt = begun - ([1, 50, 100][nth % 3] ?? 0);
      if (endsAt <= firstEventAt(answer) || endsAt > MAX_END_MS) return [];
      const billed = computeBill(answer, endsAt + CLOSE_NOTICE_MS);
      return [createCase(kind, { answer, end: 'stopped', endsAt, billed })];
    });
    expect(justBefore.length).toBeGreaterThan(CASES);
    figures.addKind(`${kind}: it begins 0 to 100 ms behind`, await bookAll(justBefore, edge));
  },
);

test.each(['search', 'fetch', 'code', 'mcp'] as const)(
  'settles a stop while a tool result is pending at least at the billed cost: %s',
  async (kind) => {
    const cases = createAnswers(kind, 2 * CASES).flatMap((answer, nth) => {
      const result = answer.actions.find(({ at, prompt }) => at > 0 && prompt !== undefined)?.at ?? 0;
      const endsAt = result - ([40, 150, 300][nth % 3] ?? 0);
      if (endsAt <= firstEventAt(answer) || endsAt > MAX_END_MS) return [];
      const networkMs = NETWORKS_MS[Math.floor(nth / 3) % NETWORKS_MS.length] ?? 0;
      const billed = computeBill(answer, endsAt + CLOSE_NOTICE_MS + networkMs);
      return [createCase(kind, { answer, end: 'stopped', endsAt, billed })];
    });
    expect(cases.length).toBeGreaterThan(CASES / 2);
    const booked = await bookAll(cases, edge);
    expect(figures.addKind(`${kind}: result under way`, booked).least).toBeGreaterThanOrEqual(EXACT);
  },
);

test('settles a first turn that is stopped before its first event at least at the billed cost', async () => {
  const cases = createAnswers('text').map((answer, nth) => {
    const first = firstEventAt(answer);
    const endsAt = first * ([0.05, 0.5, 0.9][nth % 3] ?? 0);
    const billed = computeBill(answer, first + CLOSE_NOTICE_MS);
    return createCase('first', { answer, end: 'stopped', endsAt, answersUntil: first, billed });
  });
  const { least } = figures.addKind('first turn stopped', await bookAll(cases, edge));
  expect(least).toBeGreaterThanOrEqual(EXACT);
});

test('settles a response of a hanging API that is stopped before its first event at least at the billed cost of the prompt', async () => {
  const cases = createAnswers('text').map((answer, nth) =>
    createCase('hanging', {
      answer,
      end: 'stopped',
      endsAt: firstEventAt(answer) * 0.9,
      lacksHeaders: nth % 2 === 0,
      billed: billPrompt(answer),
    }),
  );
  const { least } = figures.addKind('hanging upstream', await bookAll(cases, edge));
  expect(least).toBeGreaterThanOrEqual(EXACT);
});

test('settles a turn whose object dies while it reads the rest of a stopped response at least at the billed cost', async () => {
  const begun = createAnswers('text').map((answer, nth) => {
    const endsAt = drawEnd(answer, nth);
    return createCase('killed', { answer, end: 'killed', endsAt, billed: 0 });
  });
  const unbegun = createAnswers('text').map((answer) =>
    createCase('killed', { answer, end: 'killed', endsAt: firstEventAt(answer) * 0.5, billed: billPrompt(answer) }),
  );
  const all = [...begun, ...unbegun];
  const started = await Promise.all(all.map((one) => api.begin(one, mortal)));
  // For more than a second: then some prompts are counted before the end, and some behind it.
  for (const one of unbegun.slice(0, CASES / 2)) await api.stopTurn(one, mortal);
  await wait(1_500);
  for (const one of unbegun.slice(CASES / 2)) await api.stopTurn(one, mortal);
  const stoppedAt = await Promise.all(
    begun.map(async (one) => {
      await api.stopTurn(one, mortal);
      return Date.now();
    }),
  );
  for (const [nth, one] of begun.entries()) {
    // Behind that time the edge itself would have closed the connection.
    const readMs = Math.min(250, Date.now() - (stoppedAt[nth] ?? 0));
    one.billed = computeBill(one.answer, one.endsAt + readMs + CLOSE_NOTICE_MS);
  }
  await mortal.kill();
  for (const { leave, over } of started) {
    leave();
    await over;
  }
  mortal = await startEdgeOfClaudeApi(api.receive, inject('deployed').code, SETTINGS, folder);
  const booked: [number, number][] = [];
  for (const { name, billed } of all) {
    await readJson(mortal, `/conversations/${name}`, name);
    booked.push([await readBooked(mortal, name), billed]);
  }
  const { least } = figures.addKind('killed while reading on', booked);
  expect(least).toBeGreaterThanOrEqual(EXACT);
});

/** Letters of a signature for a token that was thought, at the least and at the most. */
const SIGNED_LETTERS = [5.3, 6.5] as const;
const drawSigned = createRandom(7);
const sign = (tokens: number) => 'A'.repeat(Math.ceil(tokens * drawSigned(...SIGNED_LETTERS)));

/** @returns an answer that has thought so many tokens, which only its signature shows */
function createSignedAnswer(answer: Answer, tokens: number): Answer {
  const { model } = answer;
  const usage = { output_tokens: tokens + 50, output_tokens_details: { thinking_tokens: tokens } };
  const message = {
    id: 'm',
    type: 'message',
    model: model.id,
    usage: { input_tokens: promptOf(answer), output_tokens: 1 },
  };
  const events = [
    sseEvent('message_start', { message: { ...message, content: [] } }),
    sseEvent('content_block_start', { index: 0, content_block: { type: 'thinking', thinking: '', signature: '' } }),
    sseEvent('content_block_delta', { index: 0, delta: { type: 'signature_delta', signature: sign(tokens) } }),
    sseEvent('content_block_stop', { index: 0 }),
    sseEvent('message_delta', { delta: { stop_reason: 'end_turn' }, usage }),
    sseEvent('message_stop'),
  ];
  const written = events.map((event, nth) => ({ at: 20 + nth, event, written: nth === 4 ? tokens + 50 : 0 }));
  return { ...answer, actions: [...answer.actions.slice(0, 1), ...written] };
}

test('settles thinking in the history at least at the billed cost, and closer to it once its token count is learned', async () => {
  const sonnet = createAnswers('text', 4 * CASES).filter(({ model }) => model.id === 'claude-sonnet-5-5');
  const bookKept = async (kind: string) => {
    const cases = sonnet.map((answer, nth) => {
      const turns = [5, 20, 60][nth % 3] ?? 0;
      const thoughts = Array.from({ length: turns }, () => Math.ceil(drawSigned(100, 900)));
      const messages = thoughts.flatMap((tokens) => [
        { role: 'user', content: 'Go on.' },
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: '', signature: sign(tokens) },
            { type: 'text', text: 'Done.' },
          ],
        },
      ]);
      const body = { ...answer.body, messages: [...messages, ...(answer.body.messages as object[])] };
      // The count leaves out what was thought before.
      const count = promptOf(answer) + turns * 12;
      const kept = thoughts.reduce((sum, tokens) => sum + tokens, 0);
      const billed = (count + kept) * answer.model.input;
      return createCase('kept', {
        answer: { ...answer, body },
        end: 'cut',
        endsAt: 20,
        lacksHeaders: true,
        count,
        billed,
      });
    });
    return figures.addKind(kind, await bookAll(cases, edge));
  };
  const unknown = await bookKept('kept thinking, not learned');
  expect(unknown.least).toBeGreaterThanOrEqual(EXACT);
  const taught = Array.from({ length: 20 }, (_, nth) => {
    const [answer] = sonnet.slice(nth % sonnet.length);
    const signed = createSignedAnswer(answer as Answer, Math.ceil(drawSigned(100, 900)));
    const billed = computeBill(signed, Number.POSITIVE_INFINITY);
    return createCase('taught', { answer: signed, end: 'complete', endsAt: 100, billed });
  });
  for (const [booked, billed] of await bookAll(taught, edge)) expect(booked).toBe(billed);
  const learned = await bookKept('kept thinking, learned');
  expect(learned.least).toBeGreaterThanOrEqual(EXACT);
  expect(learned.median).toBeLessThan(unknown.median / 2);
});

/** Spellings of gateways. */
const SPELLINGS: readonly ((id: string) => string)[] = [
  (id) => `anthropic/${id.replace(/-(\d+)-(\d+)/, '-$1.$2')}`,
  (id) => `us.anthropic.${id}-v1:0`,
  (id) => `${id.replace(/-\d{8}$/, '')}@20260901`,
  () => 'the-best-model',
];

test.each(['complete', 'stopped'] as const)(
  'settles a response of a gateway with another spelling of the model at least at the billed cost: %s',
  async (end) => {
    const cases = createAnswers('text').map((answer, nth) => {
      const { id } = answer.model;
      const spelling = SPELLINGS[nth % SPELLINGS.length]?.(id) ?? '';
      const actions = answer.actions.map(({ event, ...action }) => ({
        ...action,
        ...(event !== undefined && { event: event.replace(`"model":"${id}"`, `"model":"${spelling}"`) }),
      }));
      const last = answer.actions.at(-1)?.at ?? 0;
      const endsAt = end === 'complete' ? last : drawEnd(answer, nth);
      const billed = computeBill(answer, endsAt + CLOSE_NOTICE_MS);
      return createCase('spelled', { answer: { ...answer, actions }, end, endsAt, billed });
    });
    const { least } = figures.addKind(`another spelling of the model, ${end}`, await bookAll(cases, gateway));
    // The API bills whole tokens.
    expect(least).toBeGreaterThanOrEqual(end === 'complete' ? 0.999 : EXACT);
  },
);

test('settles a prompt that a gateway counts as almost nothing as at least one token per 16 characters', async () => {
  const cases = createAnswers('text').map((answer, nth) =>
    createCase('counts', {
      answer,
      end: 'cut',
      endsAt: 20,
      lacksHeaders: true,
      count: nth % 2 === 0 ? 0 : 10,
      billed: billPrompt(answer),
    }),
  );
  await Promise.all(cases.map((one) => finish(one, gateway)));
  const booked: [number, number][] = [];
  for (const { name, answer, billed } of cases) {
    const cost = await readBooked(gateway, name);
    expect(cost).toBeGreaterThanOrEqual((JSON.stringify(answer.body.messages).length / 16 - 1) * answer.model.input);
    booked.push([cost, billed]);
  }
  figures.addKind('wrong counts', booked);
});
