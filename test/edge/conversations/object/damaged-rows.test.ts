import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { DamagedRow, findDamageInError } from '#edge/conversations/history/storage/damaged-row.ts';
import { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import { createMemoryOwnerName } from '#edge/conversations/turn/reserve-memory.ts';
import { bodyMemory } from '#edge/kit/http/body-memory.ts';
import { createTimeAdvancer, listMessages, stubOf } from '#test/support/conversations.ts';
import { type Cell, insertRows, listTextCells, type Rows, readStoredRows } from '#test/support/damage.ts';
import { eventually, waitForCondition } from '#test/support/eventually.ts';
import { waitForObject } from '#test/support/pending-work.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { resetAll } from '#test/support/reset.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  type ScriptedAnswer,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { readStream, sendTurn } from '#test/support/turns.ts';

afterEach(async () => {
  await resetAll();
  // An object that died in a run, and whose profile was damaged then, does not know whose memory it had.
  for (const conversation of KINDS)
    bodyMemory.releaseMemoryOfObject(createMemoryOwnerName({ account: 'alice', conversation }));
});

const MINUTE_MS = 60_000;
const words = (from: number, count: number) => Array.from({ length: count }, (_, at) => `w${from + at}z`).join(' ');
const FIRST = {
  model: 'claude-opus-5-5',
  max_tokens: 200,
  system: words(0, 20),
  tools: [weatherTool(), weatherTool({ approval: 'always' }, 'pay')],
};

/** The states in which an object may die. */
const KINDS = ['idle', 'running', 'run', 'waiting'] as const;
type Kind = (typeof KINDS)[number];

/** An answer in two pieces that never ends. @param isReleased whether the second one may come */
function endless(content: ScriptedAnswer['content'], isReleased: () => boolean): ScriptedAnswer {
  const change = (text: string) => {
    const [first, ...others] = text.slice(0, text.indexOf('event: message_delta')).split(/(?<=w699z.*\n\n)/);
    const pieces = [first, others.join('')];
    const source: UnderlyingByteSource = {
      type: 'bytes',
      async pull(controller) {
        // An object must not wait for what another one does.
        if (pieces.length === 1) await waitForCondition(isReleased);
        const piece = pieces.shift();
        if (piece === undefined) await new Promise(() => {});
        else controller.enqueue(new TextEncoder().encode(piece));
      },
    };
    return new ReadableStream(source, { highWaterMark: 0 });
  };
  return { content, change };
}

/** Has the upstream answer each question by its first word. */
function answering() {
  let [isReleased, hasEnds] = [false, false];
  answerByScript(({ messages }): ScriptedAnswer => {
    const text = JSON.stringify(messages.at(-1));
    const isResult = text.includes('tool_result');
    const asked = messages.findLast(
      ({ role, content }) => role === 'user' && !JSON.stringify(content).includes('tool_result'),
    );
    const [, word] = /"(tool|pay|running|run|idle|waiting) /.exec(JSON.stringify(asked)) ?? [];
    if (!hasEnds && (word === 'running' || (word === 'run' && isResult))) {
      isReleased = false;
      const blocks = [500, 550, 600, 650, 700, 750].map((from) => ({ type: 'text', text: words(from, 50) }));
      return endless(blocks, () => isReleased);
    }
    if (isResult) return textAnswer(words(600, 30));
    if (word === 'waiting') return callsAnswer(weatherCall('toolu_p', 'w1z', 'pay'));
    if (word === 'tool' || word === 'run') return callsAnswer(weatherCall(`toolu_${word}`, 'w1z'));
    return textAnswer(words(700, 30));
  });
  answerTools(() => new Response(words(800, 20)));
  const release = () => {
    isReleased = true;
  };
  const endAll = () => {
    hasEnds = true;
  };
  return { release, endAll };
}

/** Makes a conversation in a state in which its object may die. @returns its rows */
async function stateOf(kind: Kind, release: () => void, first: object = FIRST): Promise<Rows> {
  const begin = async (content: string, more: object = {}) => {
    const answer = await sendTurn({ messages: [{ role: 'user', content }], ...more }, { id: kind });
    if (answer.kind !== 'stream') throw new Error(JSON.stringify(answer));
    return { heard: readStream(answer.body) };
  };
  await (await begin(words(100, 5), first)).heard;
  if (kind === 'idle') await (await begin(words(200, 60_000))).heard;
  if (first === FIRST) await (await begin(`tool ${words(300, 3)}`)).heard;
  const { heard } = await begin(`${kind} ${words(400, 3)}`);
  if (kind === 'idle' || kind === 'waiting') await heard;
  else {
    const isLogged = (word: string) =>
      eventually(() =>
        runInDurableObject(stubOf(kind), (_, { storage }) => {
          expect(new Transcript(storage).hasRows('log where instr(text, ?)', word)).toBe(true);
        }),
      );
    await isLogged('w699z');
    release();
    await isLogged('w799z');
  }
  const rows = await readStoredRows(kind);
  await abortAllDurableObjects();
  return rows;
}

type Damage = (text: string, at: number) => string;
const DAMAGES: Record<string, Damage> = {
  halved: (text, at) => text.slice(0, at),
  emptied: () => '',
};

/** Has alarms come, ten minutes apart. @returns the milliseconds until the next one; infinite if none is set */
async function untilAlarm(id: string, clock: Clock): Promise<number> {
  for (let alarms = 0; alarms < 4; alarms += 1) {
    if (!(await runDurableObjectAlarm(stubOf(id)))) return Number.POSITIVE_INFINITY;
    await waitForObject(stubOf(id));
    clock.pass(10 * MINUTE_MS);
  }
  return await runInDurableObject(
    stubOf(id),
    async (_, { storage }) => ((await storage.getAlarm()) ?? Number.POSITIVE_INFINITY) - clock.now() + 10 * MINUTE_MS,
  );
}

interface Clock {
  pass(ms: number): void;
  now(): number;
}

function passingClock(): Clock {
  const passInside = createTimeAdvancer();
  let passed = 0;
  const pass = (ms: number) => {
    passInside(ms);
    passed += ms;
  };
  return { pass, now: () => Date.now() + passed };
}

test('a damaged text or table affects only its own conversation, which can be deleted', async () => {
  const { release, endAll } = answering();
  const states = new Map<Kind, Rows>();
  for (const kind of KINDS) states.set(kind, await stateOf(kind, release));
  endAll();
  const clock = passingClock();
  const told = new Set<string>();
  let number = 0;

  const concernsItself = async (what: string, kind: Kind, damage: (sql: SqlStorage) => void) => {
    number += 1;
    const id = `damaged-${number}`;
    await insertRows(id, states.get(kind) ?? {}, damage);
    await abortAllDurableObjects();
    // What is damaged does not wake its object for ever.
    expect(await untilAlarm(id, clock), what).toBeGreaterThan(9 * MINUTE_MS);
    const next = await sendTurn({ messages: [{ role: 'user', content: words(900, 2) }] }, { id });
    if (next.kind === 'stream') await readStream(next.body);
    else if (next.kind === 'error') {
      told.add(next.error.logged ?? '');
      expect([next.error.status < 500, next.error.headers['x-should-retry']]).not.toEqual([false, undefined]);
    }
    for (const read of [
      () => stubOf(id).read(),
      () => stubOf(id).readMessagePage({ limit: 100 }),
      () => stubOf(id).exportConversation(),
    ]) {
      try {
        const result = await read();
        if (result.ok) await new Response(result.value as ReadableStream).text();
      } catch (thrown) {
        // A long page has begun before it comes to what is damaged: it breaks off.
        if (!/prematurely/.test(String(thrown)))
          expect(findDamageInError(thrown) ?? String(thrown)).toBeInstanceOf(DamagedRow);
      }
    }
    const others = await sendTurn({ messages: [{ role: 'user', content: words(950, 2) }], ...FIRST }, { id: 'sound' });
    if (others.kind !== 'stream') throw new Error(JSON.stringify(others));
    expect((await readStream(others.body)).isWhole).toBe(true);
    expect(await stubOf(id).erase({ account: 'alice', id })).toBe(true);
    await eventually(async () => {
      clock.pass(MINUTE_MS);
      await runDurableObjectAlarm(stubOf(id));
      const left = await runInDurableObject(stubOf(id), (_, { storage }) =>
        storage.sql.exec("select name from sqlite_master where name in ('turns', 'messages')").toArray(),
      );
      expect(left).toEqual([]);
    });
  };

  const cells = KINDS.flatMap((kind) => listTextCells(states.get(kind) ?? {}).map((cell) => ({ kind, ...cell })));
  // Each column of each table is damaged as often as any other, however many rows the table has.
  const columns = Object.values(Object.groupBy(cells, ({ kind, table, column }) => `${kind} ${table}.${column}`));
  const text = fc.record({
    cell: fc.constantFrom(...columns).chain((same) => fc.constantFrom(...(same ?? []))),
    how: fc.constantFrom(...Object.keys(DAMAGES)),
    place: fc.nat(),
  });
  await tryAsyncCases({ numRuns: caseCount(450), endOnFailure: true }, text, async ({ cell, how, place }) => {
    const damaged = DAMAGES[how]?.(cell.text, place % cell.text.length) ?? '';
    await concernsItself(`${how} ${cell.table}.${cell.column}`, cell.kind, (sql) => change(sql, cell, damaged));
  });
  expect(told.size).toBeGreaterThan(1);
  for (const kind of KINDS) {
    for (const table of Object.keys(states.get(kind) ?? {}))
      await concernsItself(`no ${table}`, kind, (sql) => sql.exec(`drop table ${table}`));
  }
});

test('the question of an interrupted turn is kept if a text in its log is truncated or emptied', async () => {
  const { release } = answering();
  // Without tools of the edge it is no run, which would go on.
  const rows = await stateOf('running', release, { model: FIRST.model, max_tokens: 200 });
  const turn = Math.max(...(rows.log ?? []).map(({ turn: one }) => Number(one)));
  const cells = listTextCells(rows).filter(
    ({ table, column, at }) => table === 'log' && column === 'text' && rows.log?.[at]?.turn === turn,
  );
  expect(cells.length).toBeGreaterThan(0);
  const places = cells.flatMap((cell) => [0, cell.text.length - 2].map((place) => ({ cell, place })));
  for (const [how, damage] of Object.entries(DAMAGES)) {
    for (const [number, { cell, place }] of places.entries()) {
      const id = `heard-${how}-${number}`;
      await insertRows(id, rows, (sql) => change(sql, cell, damage(cell.text, place)));
      await abortAllDurableObjects();
      const [question, answer] = (await listMessages(id)).slice(-2);
      expect([question?.content, question?.status], id).toEqual([`running ${words(400, 3)}`, 'interrupted']);
      expect(answer?.role, id).toBe('assistant');
    }
  }
});

test('a request whose stored tools are emptied is rejected as damaged, with a header against retries', async () => {
  const { release, endAll } = answering();
  const rows = await stateOf('run', release);
  endAll();
  const tools = listTextCells(rows).find(
    ({ table, column, text }) => table === 'pieces' && column === 'text' && text.startsWith('[{"name":"get_weather"'),
  );
  if (!tools) throw new Error('No text of tools is stored.');
  await insertRows('damaged-tools', rows, (sql) => change(sql, tools, ''));
  await abortAllDurableObjects();
  await untilAlarm('damaged-tools', passingClock());
  const next = await sendTurn({ messages: [{ role: 'user', content: words(900, 2) }] }, { id: 'damaged-tools' });
  expect(next).toMatchObject({
    kind: 'error',
    error: { type: 'api_error', headers: { 'x-should-retry': 'false' }, logged: 'damaged_row: a text' },
  });
});

function change(sql: SqlStorage, { table, at, column }: Cell, text: string): void {
  const [row] = sql.exec(`select * from ${table} limit 1 offset ${at}`).toArray();
  const key = { meta: ['key'], turns: ['seq'], messages: ['seq'], pieces: ['owner', 'n'], runs: ['turn'] }[table] ?? [];
  const by = key.length > 0 ? key : table === 'approvals' || table === 'deliveries' ? ['id'] : ['turn', 'n'];
  const values = by.map((name) => row?.[name] ?? null);
  // No file has the same key twice: then nothing is changed.
  sql.exec(
    `update or ignore ${table} set ${column} = ? where ${by.map((name) => `${name} = ?`).join(' and ')}`,
    text,
    ...values,
  );
}
