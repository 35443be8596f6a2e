import { runInDurableObject } from 'cloudflare:test';
import { describe, expect, test } from 'vitest';
import type { ConversationSummary } from '#client/requests.ts';
import { createSummaryMessageJson } from '#edge/conversations/history/storage/summary-message.ts';
import { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import type { HistoryPageQuery } from '#edge/conversations/object/conversations.schema.ts';
import { MessageBuilder } from '#edge/conversations/turn/message-builder.ts';
import { formatConversationJson as describeOne } from '#edge/conversations/views/views.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { BLANK_SUMMARY, getSummaryRows } from '#edge/plugins/summaries/summary-rows.ts';
import { listMessages, type Row, stubOf } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { createBody, runTurn, type StreamEvent } from '#test/support/turns.ts';

interface ShownRow extends Row {
  turn: string;
  stop_reason: string | null;
  paused: string | null;
}

interface Listed {
  data: ShownRow[];
  has_more: boolean;
  first_id: string | null;
  last_id: string | null;
}

async function list(page: Partial<HistoryPageQuery> = {}, id = 'c1'): Promise<Listed> {
  const result = await stubOf(id).readMessagePage({ limit: 1_000, view: 'shown', ...page });
  if (!result.ok) throw new Error(result.error.message);
  return (await new Response(result.value as ReadableStream).json()) as Listed;
}

/** How a PNG image begins. */
const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/** The content of the message that a listener has got. */
function contentIn(events: readonly StreamEvent[]): unknown[] {
  const builder = new MessageBuilder();
  for (const { data } of events) builder.addEventData(data as JsonObject);
  return builder.blocks.map(({ value }) => value);
}

const ask = { name: 'ask_user', input_schema: { type: 'object' } };
const tools = [weatherTool(), ask];
const [question, next] = ['How is the weather?', 'And tomorrow?'];
const imported = [
  { role: 'user', content: 'Hello.' },
  { role: 'assistant', content: [{ type: 'text', text: 'Good day.' }] },
];

/** A conversation with an import, a run that ends with a call of the client, and one that pauses. @returns their events */
async function severalRuns(): Promise<StreamEvent[][]> {
  answerByScript((_, number) => {
    if (number === 1)
      return callsAnswer(
        { type: 'text', text: 'I look. ' },
        weatherCall('toolu_1', 'Bern'),
        weatherCall('toolu_2', 'Oslo'),
      );
    if (number === 2) return callsAnswer(weatherCall('toolu_3', 'Rome'), weatherCall('toolu_4', 'x', 'ask_user'));
    if (number === 3) return textAnswer('As you like.');
    return callsAnswer({ type: 'text', text: 'Once more. ' }, weatherCall(`toolu_${number + 1}`, `city ${number}`));
  });
  answerTools(({ body }) => {
    const { city } = body.input as { city: string };
    if (city === 'Oslo') return new Response('no such city', { status: 404 });
    return city === 'Rome'
      ? new Response(new Uint8Array([...PNG, ...new Uint8Array(1_500)]), { headers: { 'content-type': 'image/png' } })
      : new Response('sun');
  });
  const first = await runTurn({
    ...createBody(question, { tools }),
    messages: [...imported, { role: 'user', content: question }],
  });
  const second = await runTurn(
    createBody([{ type: 'tool_result', tool_use_id: 'toolu_4', content: 'yes' }], { tools }),
  );
  const third = await runTurn(createBody(next, { tools, max_turns: 2 }));
  return [first.events, second.events, third.events];
}

describe('the history as clients see it', () => {
  test("has one message for a run, as it was streamed, and no separate results of the run's calls", async () => {
    const [first = [], second = [], third = []] = await severalRuns();
    const { data } = await list();
    expect(data.map(({ role, content }) => ({ role, content }))).toEqual([
      ...imported,
      { role: 'user', content: question },
      { role: 'assistant', content: contentIn(first) },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_4', content: 'yes' }] },
      { role: 'assistant', content: contentIn(second) },
      { role: 'user', content: next },
      { role: 'assistant', content: contentIn(third) },
    ]);
    expect(JSON.stringify(data[3]?.content)).toContain('[image/png, 2 kB]');
    expect(data[3]).toMatchObject({
      id: 'msg_1',
      stop_reason: 'tool_use',
      paused: null,
      cost_usd: 0.0012,
      usage: { input_tokens: 200, output_tokens: 20 },
      turn: first[0]?.id?.replace(/-1$/, ''),
    });
    expect(data.at(-1)).toMatchObject({ stop_reason: 'pause_turn', paused: 'max_turns', status: 'complete' });
    expect((await listMessages()).length).toBeGreaterThan(data.length);
    // Who sends all of it back has said one thing more.
    const again = data.map(({ role, content }) => ({ role, content }));
    await runTurn({
      ...createBody('', { tools, max_turns: 1 }),
      messages: [...again, { role: 'user', content: 'And then?' }],
    });
    expect((await list()).data.slice(data.length)).toMatchObject([
      { role: 'user', content: [{ type: 'text', text: 'And then?' }] },
      { role: 'assistant' },
    ]);
  });

  test('is paged by its own messages, from any message on, in both directions', async () => {
    await severalRuns();
    const { data: all } = await list();
    for (const limit of [1, 2, 3, 5]) {
      const forwards: ShownRow[] = [];
      for (let page: Listed | undefined; page?.has_more !== false; forwards.push(...page.data)) {
        page = await list({ limit, ...(page?.last_id ? { after_id: page.last_id } : {}) });
        expect(page.data.length).toBeLessThanOrEqual(limit);
        expect([page.first_id, page.last_id]).toEqual([page.data[0]?.id, page.data.at(-1)?.id]);
      }
      expect(forwards).toEqual(all);
      const backwards = all.slice(-1);
      for (let more = true; more; ) {
        const page = await list({ limit, before_id: backwards[0]?.id ?? '' });
        backwards.unshift(...page.data);
        more = page.has_more;
      }
      expect(backwards).toEqual(all);
    }
    // An id of a step stands for its run.
    const ids = all.map(({ id }) => id);
    for (const row of await listMessages()) {
      const [behind, before] = [await list({ after_id: row.id }), await list({ before_id: row.id })];
      const both = [...before.data, ...behind.data].map(({ id }) => id);
      expect(ids.filter((id) => !both.includes(id)).length).toBeLessThanOrEqual(1);
      expect(both).toEqual(ids.filter((id) => both.includes(id)));
    }
  });

  test('names the last message that each summary covers', async () => {
    await severalRuns();
    const { data: all } = await list();
    const stored = await listMessages();
    const ends = stored.filter(({ turn }, index) => turn !== stored[index + 1]?.turn);
    const summaries = await runInDurableObject(stubOf(), (_, { storage }) => {
      const transcript = new Transcript(storage);
      if (!transcript.storedProfile) throw new Error('There is no conversation.');
      const { storedProfile: profile } = transcript;
      const own = {
        ...BLANK_SUMMARY,
        turn: 1,
        model: 'm',
        text: createSummaryMessageJson('Sun.'),
        tokens: 1,
        cost: 0,
      };
      transcript.runInTransaction(() => {
        for (const [index, { id }] of ends.entries())
          getSummaryRows(transcript).insertSummary({
            ...own,
            id: index + 1,
            beganAt: 0,
            until: transcript.messages.findMessage(id)?.seq ?? 0,
          });
      });
      return (JSON.parse(describeOne(profile, transcript, undefined)) as { summaries: ConversationSummary[] })
        .summaries;
    });
    expect(summaries.map(({ until }) => until)).toEqual(ends.map(({ id }) => id));
    for (const { until, until_shown } of summaries) {
      const { data: behind } = await list({ after_id: until ?? '' });
      expect(until_shown).toBe(all.at(-1 - behind.length)?.id);
    }
    // The last step of a run is no message of this view.
    expect(summaries.some(({ until, until_shown }) => until !== until_shown)).toBe(true);
  });

  test('contains only the question of a running run, and only if pending messages are requested', async () => {
    const opened = Promise.withResolvers<void>();
    answerByScript((_, number) => (number === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('Sun.')));
    const called = answerTools(async () => {
      await opened.promise;
      return new Response('sun');
    });
    const running = runTurn(createBody(question, { tools }));
    await eventually(() => expect(called).toHaveLength(1));
    expect((await list()).data).toEqual([]);
    expect((await list({ pending: true })).data).toMatchObject([{ content: question, status: 'running' }]);
    opened.resolve();
    await running;
    expect((await list()).data).toMatchObject([{ content: question, status: 'complete' }, { role: 'assistant' }]);
  });

  test('equals the stream of a stopped run, and is the same in a copy and in an export', async () => {
    answerByScript((_, number) =>
      number === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('As you like.'),
    );
    const called = answerTools(
      ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    );
    const running = runTurn(createBody(question, { tools }));
    await eventually(() => expect(called).toHaveLength(1));
    await stubOf().stopRunningTurn();
    const { events } = await running;
    const { data } = await list();
    expect(data[1]).toMatchObject({ status: 'stopped', content: contentIn(events) });
    await stubOf().forkConversation('c2', undefined);
    expect((await list({}, 'c2')).data).toEqual(data);
    const exported = await stubOf().exportConversation('shown');
    if (!exported.ok) throw new Error(exported.error.message);
    const lines = (await new Response(exported.value as ReadableStream).text()).trim().split('\n');
    const [profile, ...rest] = lines.map((line) => JSON.parse(line) as JsonObject);
    expect(profile).toMatchObject({ type: 'conversation' });
    expect(rest).toEqual([...data, { type: 'end', messages: 2 }]);
    const next = await runTurn(createBody('Never mind.', { tools }));
    expect((await list()).data.slice(2)).toMatchObject([
      { content: [{ type: 'text', text: 'Never mind.' }] },
      { content: contentIn(next.events) },
    ]);
  });
});

test('a run that is stopped during a tool call has no reason, as in its stream', async () => {
  answerByScript(() => callsAnswer(weatherCall('toolu_1', 'Bern')));
  const calls = answerTools(
    ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  );
  const running = runTurn(createBody(question, { tools }));
  await eventually(() => expect(calls).toHaveLength(1));
  await stubOf().stopRunningTurn();
  const { events } = await running;
  const { data: end } = events.findLast(({ event }) => event === 'message_delta') ?? {};
  expect(end).toMatchObject({ delta: { stop_reason: null } });
  expect((await list()).data.at(-1)).toMatchObject({ role: 'assistant', status: 'stopped', stop_reason: null });
});
