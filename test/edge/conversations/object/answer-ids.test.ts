import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ConversationMessage } from '#client/index.ts';
import { toUIMessages } from '#client/ui-messages.ts';
import type { Row } from '#test/support/conversations.ts';
import { readOf, rowsOf, storedLog, stubOf } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { CONSTANT_ID, NO_IDS, streamedAs, wholeAs, withIdIn } from '#test/support/foreign-gateway/ids.ts';
import { backupOf } from '#test/support/long-backup.ts';
import { runs, tryAsyncCases } from '#test/support/runs.ts';
import { answeringBy, call, calls, says, servingTools, weather } from '#test/support/scripted-runs.ts';
import { ask, bodyOf, eventsIn, listen, say, type Told } from '#test/support/turns.ts';
import { end, start as startOf, textBlock } from '#test/support/wire.ts';

const place = (id: string) => ({ account: 'alice', id });
const question = (content: unknown) => ({ messages: [{ role: 'user', content }] });
const idIn = (events: readonly Told[]) => (events[0]?.data.message as { id?: unknown } | undefined)?.id;
const idsOf = (rows: readonly { id: string }[]) => rows.map(({ id }) => id);

interface Listed {
  data: Row[];
  has_more: boolean;
  first_id: string | null;
  last_id: string | null;
}

async function page(query: object, id = 'c1'): Promise<Listed> {
  const result = await stubOf(id).messages({ limit: 1, ...query });
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

describe('an id that an upstream gives twice', () => {
  test('is that of its first answer alone: any other has an id of the edge, in the stream and in the history', async () => {
    const id = CONSTANT_ID;
    const whole = startOf({ id }) + textBlock(['One ', 'two']) + end();
    answeringBy(() => ({ ...says(''), change: () => whole }));
    const first = await say(bodyOf('Hello'));
    expect(idIn(first.events)).toBe(id);
    const second = await say(question('Again'));
    const own = String(idIn(second.events));
    expect(own).toMatch(/^msg_[\w-]{1,124}$/);
    expect(own).not.toBe(idIn((await say(question('And again'))).events));
    const rows = await rowsOf();
    expect(rows[1]).toMatchObject({ id, turn: first.turn });
    expect(rows[3]).toMatchObject({ id: own, turn: second.turn });
    // Nothing else of the stream is changed, byte for byte.
    const told = (text: string) => text.replaceAll(/^id: .*\n/gm, '').replace(/: sluice-cost.*\n\n$/, '');
    expect(told(second.text)).toBe(withIdIn(told(first.text), own));
    const resumed = await stubOf().resume(`${second.turn}-0`);
    if (resumed.kind !== 'stream') throw new Error(resumed.kind);
    expect((await listen(resumed.body as ReadableStream)).text).toContain(`"id":"${own}"`);
  });

  test.each(['stream', 'whole'])('is found, and what is no id is none: %s', async (how) => {
    const ids = [CONSTANT_ID, CONSTANT_ID, 'msg_2', ...NO_IDS, 'msg_turn_mine_1', 'msg_2'];
    const told: unknown[] = [];
    answeringBy((_, number) => {
      const answer = says(`Answer ${number}`);
      return how === 'whole' ? wholeAs(ids[number - 1], answer) : streamedAs(ids[number - 1], answer);
    });
    await say(bodyOf('Hello')).then(({ events }) => told.push(idIn(events)));
    for (let turn = 2; turn <= ids.length; turn += 1) told.push(idIn((await say(question(`Question ${turn}`))).events));
    expect([told[0], told[2]]).toEqual([CONSTANT_ID, 'msg_2']);
    expect(new Set(told).size).toBe(ids.length);
    expect(idsOf(await rowsOf()).filter((_, at) => at % 2 === 1)).toEqual(told);
  });

  test('has the same other id when the object dies while it is answered', async () => {
    answeringBy((_, number) => {
      const text = startOf({ id: CONSTANT_ID }) + textBlock(['One ']);
      const start = (stream: ReadableByteStreamController) => stream.enqueue(new TextEncoder().encode(text));
      return {
        ...says(''),
        change: () => (number === 2 ? new ReadableStream({ type: 'bytes', start }) : text + end()),
      };
    });
    await say(bodyOf('Hello'));
    const answer = await ask(question('Again'));
    if (answer.kind !== 'stream') throw new Error(answer.kind);
    const heard = listen(answer.body);
    await eventually(async () => expect(await storedLog()).toContain('One'));
    const told = idIn(eventsIn(await storedLog()));
    await abortAllDurableObjects();
    await heard;
    await eventually(async () => expect((await rowsOf())[3]).toMatchObject({ id: told, status: 'interrupted' }));
    const third = await say(question('Go on'));
    expect(new Set([CONSTANT_ID, told, idIn(third.events)]).size).toBe(3);
  });

  test('costs no read of rows while ids are new', async () => {
    await stubOf().adopt(place('c1'), new Blob([backupOf(300)]).stream());
    answeringBy((_, number) => streamedAs(number < 5 ? `msg_new_${number}` : 'msg_2', says('Yes.')));
    const queries: { query: string; rows: number }[] = [];
    // What a copy has is read once.
    await say(question('One'));
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
    for (const next of ['Two', 'Three', 'Four']) await say(question(next));
    expect(queries).toEqual([]);
    const { events } = await say(question('Five'));
    expect(idIn(events)).not.toBe('msg_2');
    expect(queries).toEqual([{ query: expect.stringContaining('where id = ?'), rows: 2 }]);
    expect((await readOf())?.turns).toBe(305);
  });
});

/** @returns the questions and answers, in order */
const wordsIn = (rows: readonly Row[]): string[] => JSON.stringify(rows).match(/(?:Question|Answer) \d+\./g) ?? [];

/** What is done to a conversation, and which id the gateway gives the answers. */
const deed = fc.record({
  what: fc.constantFrom('turn', 'whole', 'run', 'again', 'fork', 'import'),
  id: fc.constantFrom(CONSTANT_ID, CONSTANT_ID, 'msg_2', ...NO_IDS),
  at: fc.nat(5),
});

test('whatever ids a gateway gives, each row has its own, and none is lost: by turns, runs, forks, imports and what is asked again', async () => {
  let [conversations, said] = [0, 0];
  await tryAsyncCases(runs(300, 0.3), fc.array(deed, { minLength: 4, maxLength: 9 }), async (deeds) => {
    const newId = () => {
      conversations += 1;
      return `c${conversations}`;
    };
    let id = newId();
    let of: (typeof deeds)[number] | undefined;
    answeringBy(({ messages }, number) => {
      const isCalling = of?.what === 'run' && !JSON.stringify(messages.at(-1)).includes('tool_result');
      const answer = isCalling ? calls(call(`toolu_${number}`, 'Bern')) : says(`Answer ${said}.`);
      return of?.what === 'whole' ? wholeAs(of.id, answer) : streamedAs(of?.id, answer);
    });
    servingTools(() => new Response('sun'));
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
        await stubOf(id).fork(to, chosen?.id);
        id = to;
        if (chosen) expected = wordsIn([...before, chosen]);
        continue;
      }
      if (of.what === 'import' && rows.length > 0) {
        id = newId();
        const messages = JSON.stringify(rows.map(({ role, content }) => ({ role, content })));
        await stubOf(id).create(place(id), {}, { messages });
      }
      if (of.what === 'again' && chosen) {
        await stubOf(id).rewind(chosen.id);
        expected = wordsIn(before);
      }
      said += 1;
      const { events } = await say(bodyOf(`Question ${said}.`, { tools: [weather()] }), { id });
      expected.push(`Question ${said}.`, `Answer ${said}.`);
      expect((await shown()).at(-1)).toMatchObject({ id: idIn(events), role: 'assistant' });
    }
    const [rows, stored] = [await shown(), await rowsOf(id)];
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
    const exported = await stubOf(id).export();
    if (!exported.ok) throw new Error(exported.error.message);
    const lines = (await new Response(exported.value as ReadableStream).text()).trim().split('\n');
    expect(lines.slice(1, -1).map((line) => JSON.parse(line).id)).toEqual(idsOf(stored));
  });
});
