import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ConversationMessage } from '#client/index.ts';
import { toUIMessages } from '#client/ui-messages.ts';
import type { Row } from '#test/support/conversations.ts';
import { listMessages, readConversation, readStoredLog, stubOf } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import {
  CONSTANT_ID,
  createMessageWithId,
  createStreamWithId,
  INVALID_IDS,
  replaceId,
} from '#test/support/foreign-gateway/ids.ts';
import { createLongBackup } from '#test/support/long-backup.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { createBody, parseEvents, readStream, runTurn, type StreamEvent, sendTurn } from '#test/support/turns.ts';
import { messageEnd, messageStart as startOf, textBlock } from '#test/support/wire.ts';

const place = (id: string) => ({ account: 'alice', id });
const question = (content: unknown) => ({ messages: [{ role: 'user', content }] });
const idIn = (events: readonly StreamEvent[]) => (events[0]?.data.message as { id?: unknown } | undefined)?.id;
const idsOf = (rows: readonly { id: string }[]) => rows.map(({ id }) => id);

interface Listed {
  data: Row[];
  has_more: boolean;
  first_id: string | null;
  last_id: string | null;
}

async function page(query: object, id = 'c1'): Promise<Listed> {
  const result = await stubOf(id).readMessagePage({ limit: 1, ...query });
  if (!result.ok) throw new Error(result.error.message);
  return (await new Response(result.value as ReadableStream).json()) as Listed;
}

/** Reads a history one row at a time. @throws Error if it has no end */
async function paged(view: 'stored' | 'shown', id: string, most: number): Promise<{ there: Row[]; back: Row[] }> {
  const there: Row[] = [];
  let at: Listed | undefined;
  do {
    at = await page({ view, ...(at?.last_id ? { after_id: at.last_id } : {}) }, id);
    there.push(...at.data);
    if (there.length > most) throw new Error('The pages do not end.');
  } while (at.has_more);
  const back: Row[] = at.data;
  while (at.first_id && back.length <= most) {
    at = await page({ view, before_id: at.first_id }, id);
    back.unshift(...at.data);
    if (!at.has_more) break;
  }
  return { there, back };
}

describe('a message id that an upstream repeats', () => {
  test('stays with its first response, and is replaced in the stream and the history of any other', async () => {
    const id = CONSTANT_ID;
    const whole = startOf({ id }) + textBlock(['One ', 'two']) + messageEnd();
    answerByScript(() => ({ ...textAnswer(''), change: () => whole }));
    const first = await runTurn(createBody('Hello'));
    expect(idIn(first.events)).toBe(id);
    const second = await runTurn(question('Again'));
    const own = String(idIn(second.events));
    expect(own).toMatch(/^msg_[\w-]{1,124}$/);
    expect(own).not.toBe(idIn((await runTurn(question('And again'))).events));
    const rows = await listMessages();
    expect(rows[1]).toMatchObject({ id, turn: first.turn });
    expect(rows[3]).toMatchObject({ id: own, turn: second.turn });
    // Nothing else of the stream is changed, byte for byte.
    const told = (text: string) => text.replaceAll(/^id: .*\n/gm, '').replace(/: sluice-cost.*\n$/, '');
    expect(told(second.text)).toBe(replaceId(told(first.text), own));
    const resumed = await stubOf().resumeTurnStream(`${second.turn}-0`);
    if (resumed.kind !== 'stream') throw new Error(resumed.kind);
    expect((await readStream(resumed.body as ReadableStream)).text).toContain(`"id":"${own}"`);
  });

  test.each(['stream', 'whole'])('is replaced, and so is an invalid id: %s', async (how) => {
    const ids = [CONSTANT_ID, CONSTANT_ID, 'msg_2', ...INVALID_IDS, 'msg_turn_mine_1', 'msg_2'];
    const told: unknown[] = [];
    answerByScript((_, number) => {
      const answer = textAnswer(`Answer ${number}`);
      return how === 'whole'
        ? createMessageWithId(ids[number - 1], answer)
        : createStreamWithId(ids[number - 1], answer);
    });
    await runTurn(createBody('Hello')).then(({ events }) => told.push(idIn(events)));
    for (let turn = 2; turn <= ids.length; turn += 1)
      told.push(idIn((await runTurn(question(`Question ${turn}`))).events));
    expect([told[0], told[2]]).toEqual([CONSTANT_ID, 'msg_2']);
    expect(new Set(told).size).toBe(ids.length);
    expect(idsOf(await listMessages()).filter((_, at) => at % 2 === 1)).toEqual(told);
  });

  test('keeps its replacement when the object dies during the response', async () => {
    answerByScript((_, number) => {
      const text = startOf({ id: CONSTANT_ID }) + textBlock(['One ']);
      const start = (stream: ReadableByteStreamController) => stream.enqueue(new TextEncoder().encode(text));
      return {
        ...textAnswer(''),
        change: () => (number === 2 ? new ReadableStream({ type: 'bytes', start }) : text + messageEnd()),
      };
    });
    await runTurn(createBody('Hello'));
    const answer = await sendTurn(question('Again'));
    if (answer.kind !== 'stream') throw new Error(answer.kind);
    const heard = readStream(answer.body);
    await eventually(async () => expect(await readStoredLog()).toContain('One'));
    const told = idIn(parseEvents(await readStoredLog()));
    await abortAllDurableObjects();
    await heard;
    await eventually(async () => expect((await listMessages())[3]).toMatchObject({ id: told, status: 'interrupted' }));
    const third = await runTurn(question('Go on'));
    expect(new Set([CONSTANT_ID, told, idIn(third.events)]).size).toBe(3);
  });

  test('is detected without reading rows while ids are new', async () => {
    await stubOf().storeCopiedHistory(place('c1'), new Blob([createLongBackup(300)]).stream());
    answerByScript((_, number) => createStreamWithId(number < 5 ? `msg_new_${number}` : 'msg_2', textAnswer('Yes.')));
    const queries: { query: string; rows: number }[] = [];
    // What a copy has is read once.
    await runTurn(question('One'));
    await runInDurableObject(stubOf(), (_, { storage: { sql } }) => {
      const exec = sql.exec.bind(sql);
      Object.assign(sql, {
        exec: (query: string, ...bindings: SqlStorageValue[]) => {
          const cursor = exec(query, ...bindings);
          if (!query.startsWith('select') || !/from messages where (id|seq >)/.test(query)) return cursor;
          const rows = cursor.toArray();
          queries.push({ query, rows: cursor.rowsRead });
          return { toArray: () => rows };
        },
      });
    });
    for (const next of ['Two', 'Three', 'Four']) await runTurn(question(next));
    expect(queries).toEqual([]);
    const { events } = await runTurn(question('Five'));
    expect(idIn(events)).not.toBe('msg_2');
    expect(queries).toEqual([{ query: expect.stringContaining('where id = ?'), rows: 2 }]);
    expect((await readConversation())?.turns).toBe(305);
  });
});

/** @returns the questions and answers, in order */
const wordsIn = (rows: readonly Row[]): string[] => JSON.stringify(rows).match(/(?:Question|Answer) \d+\./g) ?? [];

/** What is done to a conversation, and which id the gateway gives the answers. */
const deed = fc.record({
  what: fc.constantFrom('turn', 'whole', 'run', 'again', 'fork', 'import'),
  id: fc.constantFrom(CONSTANT_ID, CONSTANT_ID, 'msg_2', ...INVALID_IDS),
  at: fc.nat(5),
});

test('rows keep unique ids across turns, runs, forks, imports and repeated questions, whatever ids a gateway sends', async () => {
  let [conversations, said] = [0, 0];
  await tryAsyncCases(caseCount(300, 0.3), fc.array(deed, { minLength: 4, maxLength: 9 }), async (deeds) => {
    const newId = () => {
      conversations += 1;
      return `c${conversations}`;
    };
    let id = newId();
    let of: (typeof deeds)[number] | undefined;
    answerByScript(({ messages }, number) => {
      const isCalling = of?.what === 'run' && !JSON.stringify(messages.at(-1)).includes('tool_result');
      const answer = isCalling ? callsAnswer(weatherCall(`toolu_${number}`, 'Bern')) : textAnswer(`Answer ${said}.`);
      return of?.what === 'whole' ? createMessageWithId(of.id, answer) : createStreamWithId(of?.id, answer);
    });
    answerTools(() => new Response('sun'));
    /** What has been said, in order. */
    let expected: string[] = [];
    const shown = async () => (await page({ limit: 1_000, view: 'shown' }, id)).data;
    for (of of deeds) {
      const rows = expected.length === 0 ? [] : await shown();
      expect(wordsIn(rows)).toEqual(expected);
      // What is chosen among what was said before.
      const chosen = rows
        .filter((row) => wordsIn([row])?.[0]?.startsWith(of?.what === 'fork' ? 'A' : 'Q'))
        .at(-1 - of.at);
      const before = chosen ? rows.slice(0, rows.indexOf(chosen)) : [];
      if (of.what === 'fork' && rows.length > 0) {
        const to = newId();
        await stubOf(id).forkConversation(to, chosen?.id);
        id = to;
        if (chosen) expected = wordsIn([...before, chosen]);
        continue;
      }
      if (of.what === 'import' && rows.length > 0) {
        id = newId();
        const messages = JSON.stringify(rows.map(({ role, content }) => ({ role, content })));
        await stubOf(id).createConversation(place(id), {}, { messages });
      }
      if (of.what === 'again' && chosen) {
        await stubOf(id).rewindConversation(chosen.id);
        expected = wordsIn(before);
      }
      said += 1;
      const { events } = await runTurn(createBody(`Question ${said}.`, { tools: [weatherTool()] }), { id });
      expected.push(`Question ${said}.`, `Answer ${said}.`);
      expect((await shown()).at(-1)).toMatchObject({ id: idIn(events), role: 'assistant' });
    }
    const [rows, stored] = [await shown(), await listMessages(id)];
    expect(wordsIn(rows)).toEqual(expected);
    expect(new Set(idsOf(rows)).size).toBe(rows.length);
    expect(new Set(idsOf(stored)).size).toBe(stored.length);
    const messages = toUIMessages(rows as unknown as ConversationMessage[]);
    expect(new Set(idsOf(messages)).size).toBe(messages.length);
    for (const [view, all] of [
      ['stored', stored],
      ['shown', rows],
    ] as const) {
      const { there, back } = await paged(view, id, all.length);
      expect(idsOf(there)).toEqual(idsOf(all));
      expect(idsOf(back)).toEqual(idsOf(all));
    }
    const exported = await stubOf(id).exportConversation();
    if (!exported.ok) throw new Error(exported.error.message);
    const lines = (await new Response(exported.value as ReadableStream).text()).trim().split('\n');
    expect(lines.slice(1, -1).map((line) => JSON.parse(line).id)).toEqual(idsOf(stored));
  });
});
