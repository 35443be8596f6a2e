import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { beforeEach, expect, test, vi } from 'vitest';
import type { UpstreamObjectServices } from '#edge/claude/upstream-object.ts';
import { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { ConversationMaintainer } from '#edge/conversations/object/maintenance.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { Account } from '#edge/money/account/account.ts';
import {
  bindings,
  countWrittenRows,
  installSimulator,
  listMessages,
  readConversation,
  setConversationUpstream,
  stubOf,
  waitUntilAtRest,
} from '#test/support/conversations.ts';
import { changeProfile } from '#test/support/damage.ts';
import { eventually } from '#test/support/eventually.ts';
import { createLongBackup } from '#test/support/long-backup.ts';
import { disableAutomaticAlarms, waitForObject } from '#test/support/pending-work.ts';
import { createAlternatingRoles } from '#test/support/roles.ts';
import { createBody, readStream, runTurn } from '#test/support/turns.ts';
import { contentBlock, messageEnd, messageStart, splitEvents, sseResponse, textBlock } from '#test/support/wire.ts';

beforeEach(() => {
  installSimulator();
});
const account = () => getAccountStub(bindings, {}, 'alice');
const question = (content: unknown) => ({ messages: [{ role: 'user', content }] });

test('the 2,000th turn writes as many rows as the 10th', async () => {
  disableAutomaticAlarms();
  await runTurn(createBody('Hello'));
  for (let i = 2; i < 9; i += 1) await runTurn(question(`Question ${i}`));
  await waitUntilAtRest();
  await runTurn(question('Question 9'));
  await waitUntilAtRest();
  const ten = [await countWrittenRows(stubOf()), await countWrittenRows(account())];
  await runTurn(question('Question 10'));
  await waitUntilAtRest();
  const tenth = ten.map((count) => count());
  await runInDurableObject(stubOf(), (_, { storage }) => {
    // What lies between is copied: to have 2,000 of them said takes longer than to show that they do not matter.
    storage.transactionSync(() => {
      // The account's word on a turn is written with the next one.
      storage.sql.exec('update turns set settled = 1');
      for (let turn = 11; turn < 1_999; turn += 1) {
        const columns = [...storage.sql.exec('select name from pragma_table_info(?)', 'turns')].map(({ name }) => name);
        const rest = columns.filter((name) => name !== 'seq').join(', ');
        storage.sql.exec(`insert into turns (seq, ${rest}) select ?, ${rest} from turns where seq = 10`, turn);
        for (const at of [19, 20]) {
          storage.sql.exec(
            `insert into messages (seq, turn, id, role, created_at, characters, text)
             select ?, ?, id || '_' || ?, role, created_at, characters, text from messages where seq = ?`,
            at + 2 * (turn - 10),
            turn,
            turn,
            at,
          );
        }
      }
      changeProfile(storage.sql, (profile) =>
        Object.assign(profile, { turns: 1_998, messages: 3_996, nextMessage: 3_997 }),
      );
    });
  });
  const { abortAllDurableObjects } = await import('cloudflare:test');
  await abortAllDurableObjects();
  await runTurn(question('Question 1999'));
  await waitUntilAtRest();
  const thousands = [await countWrittenRows(stubOf()), await countWrittenRows(account())];
  const { events } = await runTurn(question('Question 2000'));
  expect(events.at(-1)?.event).toBe('message_stop');
  await waitUntilAtRest();
  expect(thousands.map((count) => count())).toEqual(tenth);
  expect(await readConversation()).toMatchObject({ turns: 2_000, messages: 4_000 });
});

test('the stored bytes that the account records match the database within ten pages', async () => {
  await runTurn(createBody('Hello'));
  for (let turn = 1; turn <= 25; turn += 1) await runTurn(question('What is said is stored. '.repeat(turn * 30)));
  await waitUntilAtRest();
  const stored = await runInDurableObject(stubOf(), (_, { storage }) => storage.sql.databaseSize);
  const { used: told } = (await account().getQuotaReport()).stored_bytes;
  expect(stored).toBeGreaterThan(200_000);
  expect(Math.abs(told - stored)).toBeLessThanOrEqual(40_960);
});

test("a turn holds the last turn's reported tokens and a bound for new text, not the bytes of the whole history", async () => {
  await runTurn(createBody('word '.repeat(8_000), { max_tokens: 10 }));
  await runTurn(question('And?'));
  await waitUntilAtRest();
  const [second, first] = (await account().listRequests({})).data;
  expect(first?.hold_usd).toBeGreaterThan(0.2);
  expect(second?.hold_usd).toBeLessThan((first?.hold_usd ?? 0) / 3);
  expect(second).toMatchObject({ over_hold: false });
  // Another prompt is bounded anew.
  await runTurn({ ...question('And?'), system: 'Be brief.' });
  await waitUntilAtRest();
  expect((await account().listRequests({})).data[0]?.hold_usd).toBeGreaterThan(0.2);
});

test('events and messages above the row limit are stored without loss, and streams resume at any event', async () => {
  const long = `“${'🌊 words '.repeat(150_000)}”`;
  const result = {
    type: 'web_search_tool_result',
    tool_use_id: 's',
    content: [{ type: 'web_search_result', page: long }],
  };
  const stream =
    messageStart({ usage: { input_tokens: 1, output_tokens: 1 } }) +
    contentBlock({ type: 'server_tool_use', id: 's', name: 'web_search', input: {} }) +
    contentBlock(result, [], 1) +
    textBlock([long], 2) +
    messageEnd({ output_tokens: 9 }, { stop_reason: 'end_turn' });
  setConversationUpstream(async () => sseResponse(stream));
  const { events, turn } = await runTurn(createBody(long));
  expect(events.map((event) => event.data.type)).toEqual(
    splitEvents(stream).map((one) => /^event: (.*)/.exec(one)?.[1]),
  );
  const rows = await listMessages();
  expect(rows[0]?.content === long).toBe(true);
  const [, kept, text] = (rows[1]?.content ?? []) as [unknown, { content: { page: string }[] }, { text: string }];
  expect(kept.content[0]?.page === long && text.text === long).toBe(true);
  for (let at = 0; at < events.length; at += 1) {
    const resumed = await stubOf().resumeTurnStream(`${turn}-${at}`);
    if (resumed.kind !== 'stream') throw new Error(resumed.kind);
    const { text: rest } = await readStream(resumed.body as ReadableStream);
    expect(rest.startsWith(`id: ${turn}-${at + 1}\n`)).toBe(true);
    expect(rest.split(/^id: /m).length - 1).toBe(events.length - at);
  }
  await runTurn(question('And?'));
  expect(await listMessages()).toHaveLength(4);
});

test('a turn makes three calls to objects, and writes at most 16 rows plus four per second of streaming', async () => {
  disableAutomaticAlarms();
  // An account is put on the list of accounts once.
  await runTurn(createBody('Hello'));
  await waitUntilAtRest();
  const calls: string[] = [];
  const restore = [Account, Conversation].flatMap(({ prototype }) =>
    Object.getOwnPropertyNames(prototype)
      .filter((name) => !['constructor', 'now', 'settings', 'upstream', 'alarm', 'admit', 'settle'].includes(name))
      .map((name) => {
        const object = prototype as unknown as Record<string, (...given: unknown[]) => unknown>;
        const method = object[name];
        return vi.spyOn(object, name).mockImplementation(function (this: unknown, ...given: unknown[]) {
          calls.push(name);
          return method?.apply(this, given);
        });
      }),
  );
  await runTurn(question('Again'));
  await eventually(() => expect(calls).toEqual(['handleTurn', 'admitJson', 'settleJson']));
  for (const spy of restore) spy.mockRestore();
  await waitUntilAtRest();
  const counts = [await countWrittenRows(stubOf()), await countWrittenRows(account())];
  const started = performance.now();
  const words = encodeURIComponent('some words are said '.repeat(40));
  await runTurn({ ...question('Slowly'), max_tokens: 2_000 }, { simulate: `tps=100;flush;answer=${words}` });
  const seconds = (performance.now() - started) / 1_000;
  expect(seconds).toBeGreaterThan(1);
  await waitUntilAtRest();
  expect(counts.reduce((sum, count) => sum + count(), 0)).toBeLessThanOrEqual(16 + Math.ceil(4 * seconds));
});

test('a turn that cannot be stored completely leaves no rows', async () => {
  await runTurn(createBody('Hello'));
  await runInDurableObject(stubOf(), (_, { storage }) => {
    const transcript = new Transcript(storage);
    const [before] = transcript.listTurns();
    if (!before) throw new TypeError('no turn');
    const row = { ...before, seq: 9, id: 'turn_9' };
    const message = { seq: 9, turn: 9, id: 'msg_9', role: 'user', createdAt: 0, text: 'x'.repeat(700_000) };
    const messages = (where: string) => transcript.readAllRows(`select seq from messages where ${where}`);
    expect(() => transcript.storeNewTurn(row, [message, { ...message, id: 'msg_10' }])).toThrow(/UNIQUE/);
    expect(() => transcript.storeNewTurn({ ...row, seq: before.seq }, [{ ...message, turn: before.seq }])).toThrow(
      /UNIQUE/,
    );
    expect(messages('turn = 9')).toEqual([]);
    expect(transcript.readAllRows('select owner from pieces where owner = 9')).toEqual([]);
    expect(transcript.listTurns()).toEqual([before]);
    expect(messages('1')).toHaveLength(2);
  });
});

test('a conversation that sleeps between its turns does not settle them again', async () => {
  const settle = vi.spyOn(Account.prototype, 'settleJson');
  await runTurn(createBody('Hello'));
  await waitUntilAtRest();
  await abortAllDurableObjects();
  await runTurn(question('And then?'));
  await waitUntilAtRest();
  expect(settle).toHaveBeenCalledTimes(2);
});

test('the settled cost of a turn is added once, even if the account confirms it twice', async () => {
  await runTurn(createBody('Hello'));
  await waitUntilAtRest();
  const { total, once } = await runInDurableObject(stubOf(), async (inside, { storage }) => {
    const transcript = new Transcript(storage);
    const [row] = transcript.listTurns();
    if (!row) throw new TypeError('no turn');
    const maintenance = new ConversationMaintainer({
      ...(inside as unknown as { services: UpstreamObjectServices }).services,
      transcript,
      waitUntil: () => {},
      hasRunningWork: () => true,
      hasPendingPluginWork: () => false,
      erase: async () => {},
    });
    const settled = Promise.resolve({ outcome: 'duplicate' as const, cost: row.cost + 1_000, overHold: false });
    const before = transcript.storedProfile?.cost ?? 0;
    await Promise.all([
      maintenance.settlements.waitForConfirmation(row, settled),
      maintenance.settlements.waitForConfirmation(row, settled),
    ]);
    return { total: transcript.storedProfile?.cost, once: before + 1_000 };
  });
  expect(total).toBe(once);
});

test('a turn whose end cannot be stored is closed when the object wakes, and nothing is stored twice', async () => {
  await runTurn(createBody('Hello'));
  const save = vi.spyOn(Transcript.prototype, 'saveProfile').mockImplementationOnce(() => {
    throw new Error('the disk is full');
  });
  const answer = runTurn(question('And then?'), { simulate: 'tps=200;flush;answer=one%20two%20three%20four' });
  const { isWhole } = await answer.catch(() => ({ isWhole: false }));
  expect(isWhole).toBe(false);
  expect(save).toHaveBeenCalled();
  await eventually(async () => expect(await listMessages()).toHaveLength(4));
  expect((await listMessages()).at(-1)).toMatchObject({ role: 'assistant', status: 'interrupted' });
  await runTurn(question('Go on'));
  expect((await listMessages()).map(({ role }) => role)).toEqual(createAlternatingRoles(6));
  await eventually(async () => expect((await account().getQuotaReport()).running_requests).toBe(0));
  const totals = (await readConversation()) as { turns: number; messages: number };
  expect(totals).toMatchObject({ turns: 3, messages: 6 });
});

/** Has the object wake, and notes each query that it prepares from its first call on. */
async function queriesOfWoken(): Promise<Set<string>> {
  await abortAllDurableObjects();
  return await runInDurableObject(stubOf(), (_, { storage: { sql } }) => {
    const queries = new Set<string>();
    const exec = sql.exec.bind(sql);
    const noted: typeof exec = (query, ...bindings) => {
      if (/^\s*select/.test(query)) queries.add(query);
      return exec(query, ...bindings) as ReturnType<typeof exec<never>>;
    };
    Object.defineProperty(sql, 'exec', { value: noted });
    return queries;
  });
}

test('a waking conversation prepares four queries for its turn, and three for its alarm', async () => {
  await runTurn(createBody('Hello'));
  await waitUntilAtRest();
  const ofTurn = await queriesOfWoken();
  await runTurn(question('Question 2'));
  const asked = [...ofTurn];
  await waitUntilAtRest();
  expect(asked).toHaveLength(4);
  const ofAlarm = await queriesOfWoken();
  await runDurableObjectAlarm(stubOf() as DurableObjectStub<undefined>);
  expect([...ofAlarm]).toHaveLength(3);
  expect(await listMessages()).toHaveLength(4);
});

/** Counts the statements that some work of a conversation of so many turns takes, and the rows that these read. */
async function statementsOf(
  turns: number,
  work: (object: Conversation, sql: SqlStorage) => Promise<unknown>,
): Promise<{ statements: number; rowsRead: number }> {
  const id = `of-${turns}`;
  await stubOf(id).storeCopiedHistory({ account: 'alice', id }, new Blob([createLongBackup(turns)]).stream());
  await waitForObject(stubOf(id));
  return await runInDurableObject(
    stubOf(id) as unknown as DurableObjectStub<Conversation>,
    async (object, { storage }) => {
      const { exec } = storage.sql;
      const cursors: SqlStorageCursor<Record<string, SqlStorageValue>>[] = [];
      const noting = (...of: Parameters<SqlStorage['exec']>) => {
        const cursor = exec.apply(storage.sql, of);
        cursors.push(cursor);
        return cursor;
      };
      Object.assign(storage.sql, { exec: noting });
      await work(object, storage.sql);
      Object.assign(storage.sql, { exec });
      return { statements: cursors.length, rowsRead: cursors.reduce((sum, { rowsRead }) => sum + rowsRead, 0) };
    },
  );
}

test.each([
  ['fork', 'forkConversation'],
  ['backup', 'backup'],
  ['export', 'exportConversation'],
] as const)('a %s reads rows in proportion to the turns', async (what, method) => {
  const rowsRead = async (turns: number) => {
    const read = await statementsOf(turns, async (object) => {
      const given =
        method === 'forkConversation' ? await object[method](`fork-${turns}`, undefined) : await object[method]();
      if (!given.ok) throw new Error(JSON.stringify(given.error));
      if (what !== 'fork') await new Response(given.value as ReadableStream).text();
    });
    return read.rowsRead;
  };
  expect((await rowsRead(400)) / (await rowsRead(50))).toBeLessThan(10);
});

test.each([
  ['the beginning', () => 3],
  ['the middle', (turns: number) => turns + 1],
  ['the last turn', (turns: number) => 2 * turns - 1],
])('a rewind to %s takes as many statements for many turns as for few, and reads rows in proportion', async (_, to) => {
  const rewind = async (turns: number) => {
    const taken = await statementsOf(turns, async (object) => {
      expect(object.rewindConversation(`msg_${to(turns)}`)).toMatchObject({ ok: true });
    });
    expect(await readConversation(`of-${turns}`)).toMatchObject({
      turns: (to(turns) - 1) / 2,
      messages: to(turns) - 1,
    });
    return taken;
  };
  const [few, many] = [await rewind(20), await rewind(160)];
  expect(many.statements).toBe(few.statements);
  expect(many.rowsRead / few.rowsRead).toBeLessThan(10);
});

test.each([
  ['rewind', 'removeTurnsFromHistory'],
  ['deletion', 'saveProfile'],
] as const)('a %s that fails after it removed rows is rolled back', async (what, at) => {
  await stubOf().storeCopiedHistory({ account: 'alice', id: 'c1' }, new Blob([createLongBackup(3)]).stream());
  await waitUntilAtRest();
  const before = [await readConversation(), await listMessages()];
  const dies = vi.spyOn(Transcript.prototype, at).mockImplementationOnce(() => {
    throw new Error('the object dies');
  });
  const failed = what === 'rewind' ? stubOf().rewindConversation('msg_3') : stubOf().erase();
  await expect(Promise.resolve(failed)).rejects.toThrow('the object dies');
  expect(dies).toHaveBeenCalled();
  await abortAllDurableObjects();
  expect([await readConversation(), await listMessages()]).toEqual(before);
});

test('an alarm that deletes failed turns takes as many statements for many turns as for few', async () => {
  const forget = (turns: number) =>
    statementsOf(turns, async (object, sql) => {
      sql.exec("update turns set status = 'failed' where seq > 1");
      sql.exec("insert into log (turn, n, first, text) select seq, 0, 1, '' from turns");
      await object.alarm();
      expect([...sql.exec('select seq from turns')]).toEqual([{ seq: 1 }]);
      expect([...sql.exec('select turn from log')]).toEqual([]);
    });
  expect((await forget(100)).statements).toBe((await forget(10)).statements);
});
