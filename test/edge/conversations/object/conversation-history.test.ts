import { abortAllDurableObjects } from 'cloudflare:test';
import type Anthropic from '@anthropic-ai/sdk';
import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { toSimulatedModels } from '#edge/claude/simulated-models.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { findBrokenRule } from '#test/support/api-rules.ts';
import {
  bindings,
  installSimulator,
  listMessages,
  type Row,
  readConversation,
  stubOf,
} from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { parseEvents, readStream, type StreamEvent, sendTurn } from '#test/support/turns.ts';
import { createSimulatorWithoutThinking } from '#test/support/without-thinking.ts';

let upstream: (request: Request) => Promise<Response>;
beforeEach(() => {
  const settings = installSimulator({ STREAM_IDLE_MS: '300' });
  upstream = createSimulatorWithoutThinking({
    models: toSimulatedModels(settings.models.rows),
  });
});
const TOOLS = [
  {
    name: 'get_weather',
    description: 'The weather of a city',
    input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
  { type: 'web_search_20250305', name: 'web_search' },
];
const FAULTS = [
  '',
  '',
  '',
  'cut-events=1',
  'cut-events=3',
  'cut-events=7',
  'end-events=6',
  'silence-after=5',
  'malformed=6',
  'status=529',
  'network',
  'split=random',
  'stop-reason=refusal',
  'stop-reason=pause_turn',
  'stop-reason=max_tokens',
  'answer=',
  'cut-bytes=900',
];
const SUBJECTS = ['Hello', 'What is the weather in Bern?', 'Search the web for sluices', 'Tell me about water 🌊'];

type Step =
  | { do: 'turn'; subject: number; fault: number; thinking: boolean; most: number; leave: number | undefined }
  | { do: 'crash'; subject: number; after: number }
  | { do: 'stop'; subject: number; after: number }
  | { do: 'rewind'; to: number }
  | { do: 'fork'; at: number }
  | { do: 'abort' };

const subject = fc.nat(SUBJECTS.length - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('turn' as const),
      subject,
      fault: fc.nat(FAULTS.length - 1),
      thinking: fc.boolean(),
      most: fc.constantFrom(2_000, 2_000, 2_000, 1_100, 30, 8),
      leave: fc.option(fc.nat(10), { nil: undefined }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('crash' as const), subject, after: fc.nat(20) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('stop' as const), subject, after: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('rewind' as const), to: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('fork' as const), at: fc.nat() }) },
  { weight: 1, arbitrary: fc.constant({ do: 'abort' as const }) },
);

/** A paused answer whose continuation says nothing can still be continued. */
const PLAIN = { do: 'turn', subject: 2, thinking: false, most: 2_000, leave: undefined } as const;
const STILL_PAUSED: Step[] = [
  { ...PLAIN, fault: FAULTS.indexOf('stop-reason=pause_turn') },
  { ...PLAIN, fault: FAULTS.indexOf('answer=') },
  { do: 'stop', subject: 3, after: 11 },
];

/** What a client sends next: the results of open calls, the rest of a paused answer, or a question. */
function nextMessages(rows: readonly Row[], subject: string): unknown[] {
  const sent = rows.filter(({ status }) => status !== 'refused');
  const last = sent.at(-1);
  const answers = sent.slice(sent.findLastIndex(({ role }) => role === 'user') + 1);
  const blocks = answers.flatMap(({ content }) => (Array.isArray(content) ? content : []));
  const calls = blocks.filter(({ type }) => type === 'tool_use');
  const results = new Set(blocks.map(({ tool_use_id }) => tool_use_id));
  const open = blocks.some(({ type, id }) => type === 'server_tool_use' && !results.has(id));
  if (open) return [{ role: 'assistant', content: last?.content }];
  if (calls.length > 0) {
    return [
      { role: 'user', content: calls.map(({ id }) => ({ type: 'tool_result', tool_use_id: id, content: 'Sunny' })) },
    ];
  }
  return [{ role: 'user', content: subject }];
}

/** Whether nothing is left of an answer: it does not go up. */
const isNothing = (content: unknown) => Array.isArray(content) && content.length === 0;

async function accepted(rows: readonly Row[]): Promise<string | undefined> {
  const history = rows
    .filter(({ status, content }) => status !== 'refused' && !isNothing(content))
    .map(({ role, content }) => ({ role, content })) as Anthropic.MessageParam[];
  if (history.length === 0) return undefined;
  const next = nextMessages(rows, 'And then?') as Anthropic.MessageParam[];
  // A paused answer goes on by itself.
  const messages = next[0]?.role === 'assistant' ? history : [...history, ...next];
  const broken = findBrokenRule(history) ?? findBrokenRule(messages);
  if (broken !== undefined) return broken;
  const response = await upstream(
    new Request('https://api.test/v1/messages/count_tokens', {
      method: 'POST',
      headers: { 'x-api-key': 'k', 'anthropic-version': '2023-06-01', 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'claude-opus-5-5', tools: TOOLS, messages }),
    }),
  );
  return response.ok ? undefined : await response.text();
}

/** A stream as far as a listener cares to read it. */
async function readSome(body: ReadableStream<Uint8Array>, count: number): Promise<StreamEvent[]> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  while (parseEvents(text.slice(0, text.lastIndexOf('\n\n') + 2)).length < count) {
    const { value, done } = await reader.read().catch(() => ({ value: undefined, done: true }));
    if (done || !value || value[0] === 0) break;
    text += decoder.decode(value, { stream: true });
  }
  void reader.cancel().catch(() => undefined);
  return parseEvents(text.slice(0, text.lastIndexOf('\n\n') + 2));
}

test('any sequence of operations leaves a history that the API accepts, and sends each listener each event once', async () => {
  let run = 0;
  await tryAsyncCases(
    { examples: [[STILL_PAUSED]], numRuns: caseCount(25) },
    fc.array(step, { minLength: 4, maxLength: 14 }),
    async (steps) => {
      run += 1;
      const account = `account_${run}`;
      let id = 'c0';
      const stub = () => stubOf(id, account);
      const turn = async (content: number, more: object, asked: object) => {
        const messages = nextMessages(await listMessages(id, account), SUBJECTS[content] ?? '');
        const body = { model: 'claude-opus-5-5', max_tokens: 2_000, tools: TOOLS, messages, ...more };
        return await sendTurn(body, { id, account, ...asked });
      };
      for (const [index, next] of steps.entries()) {
        const before = await listMessages(id, account);
        if (next.do === 'turn') {
          const thinking = next.thinking && next.most > 1_024 ? { thinking: { type: 'adaptive' } } : {};
          const simulated = FAULTS[next.fault] ?? '';
          const answer = await turn(
            next.subject,
            { ...thinking, max_tokens: next.most },
            simulated === '' ? {} : { simulate: simulated },
          );
          if (answer.kind === 'stream') {
            const first = next.leave === undefined ? await readStream(answer.body) : undefined;
            const heard = first?.events ?? (await readSome(answer.body, next.leave ?? 0));
            const rest = await resumed(account, id, heard.at(-1)?.id ?? `${answer.turn}-0`);
            const whole = [...heard, ...(first ? [] : rest)];
            const log = await resumed(account, id, `${answer.turn}-0`);
            expect(whole).toEqual(log);
            expect(whole.map((event) => event.id)).toEqual(whole.map((_, at) => `${answer.turn}-${at + 1}`));
            expect(whole.at(-1)?.event).toMatch(/^(message_stop|error)$/);
          } else expect(await listMessages(id, account)).toEqual(before);
        } else if (next.do === 'crash' || next.do === 'stop') {
          const answer = await turn(next.subject, {}, { simulate: 'tps=400;flush' });
          if (answer.kind !== 'stream') throw new Error(JSON.stringify(answer));
          const heard = await readSome(answer.body, next.after);
          if (next.do === 'stop') await stub().stopRunningTurn();
          else await abortAllDurableObjects();
          const log = await resumed(account, id, `${answer.turn}-0`);
          const rest = await resumed(account, id, heard.at(-1)?.id ?? `${answer.turn}-0`);
          const common = Math.min(heard.length, log.length - 1);
          expect(heard.slice(0, common)).toEqual(log.slice(0, common));
          // What was shown and lost cannot be told again: its listener gets the end.
          const isWhole = heard.at(-1)?.id === log.at(-1)?.id;
          expect(rest).toEqual(isWhole ? [] : log.slice(Math.min(heard.length, log.length - 1)));
        } else if (next.do === 'rewind') {
          const target = before[next.to % Math.max(1, before.length)];
          if (target) expect(await stub().rewindConversation(target.id)).toMatchObject({ ok: true });
          const after = await listMessages(id, account);
          expect(after).toEqual(before.slice(0, after.length));
        } else if (next.do === 'fork') {
          const target = before[next.at % Math.max(1, before.length)];
          if (target) {
            const to = `f${index}`;
            expect(await stub().forkConversation(to, target.id)).toMatchObject({ ok: true });
            expect(await listMessages(id, account)).toEqual(before);
            id = to;
            const copy = await listMessages(id, account);
            expect(copy).toEqual(before.slice(0, copy.length));
          }
        } else await abortAllDurableObjects();
        expect(await accepted(await listMessages(id, account))).toBeUndefined();
        const own = await readConversation(id, account);
        const rows = await listMessages(id, account);
        if (own) expect(own).toMatchObject({ state: 'idle', messages: rows.length });
        else expect(rows).toEqual([]);
      }
      await eventually(async () => {
        const { day, running_requests } = await getAccountStub(bindings, {}, account).getQuotaReport();
        expect({ running_requests, held: day.held_usd }).toEqual({ running_requests: 0, held: 0 });
      });
    },
  );
});

async function resumed(account: string, id: string, after: string): Promise<StreamEvent[]> {
  const answer = await stubOf(id, account).resumeTurnStream(after);
  return answer.kind === 'stream' ? (await readStream(answer.body as ReadableStream)).events : [];
}
