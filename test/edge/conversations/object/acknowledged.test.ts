import { abortAllDurableObjects, runDurableObjectAlarm } from 'cloudflare:test';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { bindings, fetchTurn, listMessages, readConversation, stubOf } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import {
  type AskedBody,
  answerByScript,
  type ScriptedAnswer,
  textAnswer,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { buildTurnRequest, createBody, runTurn, sendTurn, sendTurnRequest } from '#test/support/turns.ts';
import { sseEvent } from '#test/support/wire.ts';

const THINKS: ScriptedAnswer = {
  content: [
    { type: 'thinking', thinking: 'Hm. Let me see.', signature: 'c2lnbmVk' },
    { type: 'text', text: 'Here it is.' },
  ],
};
const OVERLOADED = sseEvent('error', { error: { type: 'overloaded_error', message: 'Overloaded' } });

/** What comes after the first events of an answer. */
type Then = 'is cut' | 'fails' | 'hangs';

/** @returns an answer that thinks first, of which only so many events come */
function only(events: number, then: Then = 'is cut'): ScriptedAnswer {
  const change = (text: string) => {
    const first = text.split('\n\n').slice(0, events);
    const begun = first.map((event) => `${event}\n\n`).join('') + (then === 'fails' ? OVERLOADED : '');
    return new ReadableStream({
      type: 'bytes',
      start(controller) {
        if (begun !== '') controller.enqueue(new TextEncoder().encode(begun));
        if (then !== 'hangs') controller.close();
      },
    } as UnderlyingByteSource);
  };
  return { ...THINKS, change };
}

const asked = ({ messages }: AskedBody) => messages.map(({ role, content }) => [role, content]);
const shown = (rows: readonly { role: string; content: unknown; status: string }[]) =>
  rows.map(({ role, content, status }) => [role, content, status]);
const held = async () => (await getAccountStub(bindings, {}, 'alice').getQuotaReport()).day.held_usd;

describe('a stream that has shown only thinking', () => {
  const KEPT = [
    ['user', 'Why?', 'interrupted'],
    ['assistant', [], 'interrupted'],
  ];

  test.each([['is cut'], ['fails']] as const)(
    'and then %s keeps its question, which the next turn sends again',
    async (then) => {
      const bodies = answerByScript((_, number) => (number === 1 ? only(4, then) : textAnswer('So.')));
      const { events } = await runTurn(createBody('Why?'));
      expect(events.at(-1)?.event).toBe('error');
      expect(shown(await listMessages())).toEqual(KEPT);
      expect(await readConversation()).toMatchObject({ turns: 1, messages: 2, state: 'idle' });
      await runTurn({ messages: [{ role: 'user', content: 'And how?' }] });
      expect(bodies.map(asked)[1]).toEqual([
        ['user', 'Why?'],
        ['user', 'And how?'],
      ]);
      expect(await listMessages()).toHaveLength(4);
      await eventually(async () => expect(await held()).toBe(0));
    },
  );

  test('and is then stopped keeps its question, and its turn or run reports that only the question is stored', async () => {
    for (const [id, more] of [
      ['c1', {}],
      ['c2', { tools: [weatherTool()] }],
    ] as const) {
      answerByScript(() => only(4, 'hangs'));
      const answer = await sendTurn(createBody('Why?', more), { id });
      await stubOf(id).stopRunningTurn();
      expect(shown(await listMessages(id))).toEqual(KEPT);
      expect(await fetchTurn(answer.kind === 'error' ? '' : answer.turn, id)).toMatchObject({
        status: 'interrupted',
        error: { message: expect.stringContaining('contains only the question') },
      });
    }
  });

  test('stores its question once and responds to it when any client sends it again', async () => {
    const earlier = [
      { role: 'user', content: 'Hello' },
      { role: 'assistant', content: 'So.' },
    ];
    const why = { role: 'user', content: 'Why?' };
    const body = { messages: [why] };
    const ways: [string, object, object][] = [
      ['by an official client', body, { retried: true, hash: 'why' }],
      ['with its key', body, { key: 'k', hash: 'why' }],
      ['with another limit', { ...body, max_tokens: 7 }, {}],
      ['with the whole history', { messages: [...earlier, why] }, {}],
    ];
    for (const [at, [way, again, how]] of ways.entries()) {
      const id = `c${at}`;
      const bodies = answerByScript((_, number) => (number === 2 ? only(4) : textAnswer('So.')));
      await runTurn(createBody('Hello'), { id });
      await runTurn(body, { id, key: 'k', hash: 'why' });
      const { events } = await runTurn(again, { id, ...how });
      expect(events.at(-1)?.event, way).toBe('message_stop');
      expect(bodies.map(asked)[2], way).toEqual([
        ['user', 'Hello'],
        ['assistant', [{ type: 'text', text: 'So.' }]],
        ['user', 'Why?'],
      ]);
      const rows = await listMessages(id);
      expect(rows.filter(({ content }) => content === 'Why?')).toHaveLength(1);
      expect(rows.at(-1)).toMatchObject({ role: 'assistant', status: 'complete' });
    }
  });

  test('keeps its question when a client resends a history without it', async () => {
    const bodies = answerByScript((_, number) => (number === 2 ? only(4) : textAnswer('So.')));
    await runTurn(createBody('Hello'));
    await runTurn({ messages: [{ role: 'user', content: 'Why?' }] });
    const [one, other] = ['Hello', 'And how?'].map((content) => ({ role: 'user', content }));
    await runTurn({ messages: [one, { role: 'assistant', content: 'So.' }, other] });
    expect(bodies.map(asked)[2]?.slice(2)).toEqual([
      ['user', 'Why?'],
      ['user', 'And how?'],
    ]);
  });

  test('has the same messages in every view, in a backup, in a copy and after a rewind', async () => {
    const bodies = answerByScript((_, number) => (number === 1 ? only(4) : textAnswer('So.')));
    await runTurn(createBody('Why?'));
    const rows = await listMessages();
    const views = await Promise.all([
      stubOf().readMessagePage({ limit: 10, view: 'shown' }),
      stubOf().exportConversation(),
      stubOf().exportConversation('shown'),
    ]);
    for (const view of views) {
      const text = view.ok ? await new Response(view.value as ReadableStream).text() : '';
      for (const row of rows) expect(text).toContain(JSON.stringify(row));
    }
    const backup = await stubOf().backup();
    if (!backup.ok) throw new Error('no backup');
    const place = { account: 'alice', id: 'c3' };
    const lines = backup.value as ReadableStream<Uint8Array>;
    expect(await stubOf('c3').storeCopiedHistory(place, lines, 0)).toMatchObject({ ok: true });
    expect(await listMessages('c3')).toEqual(rows);
    expect(await stubOf().forkConversation('c2', rows[1]?.id)).toMatchObject({ ok: true });
    expect(await listMessages('c2')).toEqual(rows);
    await runTurn({ messages: [{ role: 'user', content: 'And how?' }] }, { id: 'c2' });
    expect(bodies.map(asked).at(-1)).toHaveLength(2);
    const [, , next] = await listMessages('c2');
    await stubOf('c2').rewindConversation(next?.id ?? '');
    expect(await listMessages('c2')).toEqual(rows);
    await stubOf('c2').rewindConversation(rows[1]?.id ?? '');
    expect(await listMessages('c2')).toEqual([]);
  });
});

const KILLED = 60;
const MOST_EVENTS = 10;

test(`${KILLED} crashed or interrupted turns keep each acknowledged question, and the next question gets a response`, async () => {
  let script: (body: AskedBody) => ScriptedAnswer = () => THINKS;
  const bodies = answerByScript((body) => script(body));
  const counts: Record<string, number> = {};
  let number = 0;
  await tryAsyncCases(
    KILLED,
    fc.constantFrom('stream', 'background', 'run', 'background run'),
    fc.constantFrom('is cut', 'fails', 'dies', 'dies', 'is stopped'),
    fc.nat(MOST_EVENTS),
    fc.boolean(),
    async (how, then, events, isNew) => {
      number += 1;
      const id = `c${number}`;
      script = () => textAnswer('So.');
      if (!isNew) await runTurn(createBody('Hello'), { id });
      const before = bodies.length;
      const hangs = then === 'dies' || then === 'is stopped';
      script = () => (bodies.length > before + 1 ? THINKS : only(events, hangs ? 'hangs' : then));
      const body = createBody('Why?', how.endsWith('run') ? { tools: [weatherTool()] } : {});
      let isAcknowledged = false;
      const sent = sendTurnRequest({
        ...buildTurnRequest(body, { id }),
        edgeOptions: { background: how.startsWith('background') },
      })
        .then((answer) => {
          isAcknowledged = answer.kind === 'stream' || (answer.kind === 'response' && answer.status === 202);
          return answer;
        })
        .catch(() => undefined);
      await eventually(() => expect(bodies.length).toBeGreaterThan(before));
      // An answer without any event is not heard of before it ends.
      if (!hangs || events > 0 || how.startsWith('background')) await sent;
      if (then === 'dies') await abortAllDurableObjects();
      else if (then === 'is stopped') await stubOf(id).stopRunningTurn();
      await sent;
      await eventually(async () => {
        await runDurableObjectAlarm(stubOf(id));
        expect((await readConversation(id))?.state ?? 'idle').toBe('idle');
      });
      const kind = `${how} ${then}${isAcknowledged ? '' : ', unheard'}`;
      counts[kind] = (counts[kind] ?? 0) + 1;
      const questions = (await listMessages(id)).filter(({ content }) => content === 'Why?');
      if (isAcknowledged) expect(questions).toHaveLength(1);

      script = () => textAnswer('Then.');
      const next = { ...createBody('And then?'), messages: [{ role: 'user', content: 'And then?' }] };
      const { events: heard } = await runTurn(next, { id });
      expect(heard.at(-1)?.event).toBe('message_stop');
      const up = bodies.at(-1)?.messages ?? [];
      expect(up.at(-1)?.content).toBe('And then?');
      expect(up.filter(({ content }) => content === 'Why?')).toHaveLength(questions.length);
      if (!isNew) expect(up[0]?.content).toBe('Hello');
      const rows = await listMessages(id);
      expect(await readConversation(id)).toMatchObject({ messages: rows.length });
      await eventually(async () => expect(await held()).toBe(0));
    },
  );
  // biome-ignore lint/suspicious/noConsole: the table of the kills.
  console.log(`turns that die or break off: ${JSON.stringify(counts)}`);
});
