/** What copies and exports of a long history cost, and that others work meanwhile. What they have is tested where they are made. */
import { runInDurableObject } from 'cloudflare:test';
import { expect, test, vi } from 'vitest';
import type { Conversation } from '#edge/conversations/object/conversation.ts';
import { pause } from '#edge/kit/async/pause.ts';
import { WorkPacer } from '#edge/kit/async/run-in-steps.ts';
import { countWrittenRows, installSimulator, listMessages, stubOf } from '#test/support/conversations.ts';
import { createLongBackup } from '#test/support/long-backup.ts';

const TURNS = 400;
const LINES = TURNS * 3;
/** One behind each hundred lines, of the one who reads and of the one who writes. */
const STRETCHES = LINES / 100;

const streamOf = (text: string) => new Blob([text]).stream();
const adopt = (id: string, text = createLongBackup(TURNS)) =>
  stubOf(id).storeCopiedHistory({ account: 'alice', id }, streamOf(text));

async function textOf(result: Promise<{ ok: boolean; value?: unknown }>): Promise<string> {
  const { ok, value } = (await result) as { ok: true; value: ReadableStream };
  expect(ok).toBe(true);
  return await new Response(value).text();
}
const exported = (id: string, view?: 'shown') =>
  textOf(stubOf(id).exportConversation(view) as ReturnType<typeof adopt>);
const backedUp = (id: string) => textOf(stubOf(id).backup() as ReturnType<typeof adopt>);
/** The lines but the first one, which has the id and the times. */
const rest = (text: string) => text.slice(text.indexOf('\n'));

/** Counts the turns that paced work has waited for. */
function countTurns(): () => number {
  const { waitForTurn: before } = WorkPacer.prototype;
  let turns = 0;
  vi.spyOn(WorkPacer.prototype, 'waitForTurn').mockImplementation(function (this: WorkPacer, bytes) {
    const turn = before.call(this, bytes);
    if (turn) turns += 1;
    return turn;
  });
  return () => turns;
}

async function countStatements(id: string): Promise<() => number> {
  let statements = 0;
  await runInDurableObject(stubOf(id), (_: Conversation, { storage }) => {
    const { exec } = storage.sql;
    Object.assign(storage.sql, {
      exec(...of: Parameters<SqlStorage['exec']>) {
        statements += 1;
        return exec.apply(storage.sql, of);
      },
    });
  });
  return () => statements;
}

test('a long fork equals the original, lets other calls through in between, and writes many lines per statement', async () => {
  installSimulator();
  await adopt('c1');
  const read = await countStatements('c1');
  const turns = countTurns();
  const written = await countStatements('c2');
  const rows = await countWrittenRows(stubOf('c2'));
  let isDone = false;
  let answered = 0;
  const forking = Promise.resolve(stubOf('c1').forkConversation('c2', undefined)).finally(() => {
    isDone = true;
  });
  while (!isDone) {
    expect(await stubOf('other').read()).toMatchObject({ ok: false });
    answered += 1;
    // The runtime looks for what has come when nothing is left to do, and calls within a process leave it no such time.
    await pause(0);
  }
  expect(await forking).toMatchObject({ ok: true });
  expect(turns()).toBeGreaterThanOrEqual(2 * STRETCHES - 2);
  expect(answered).toBeGreaterThan(STRETCHES / 2);
  expect(read()).toBeLessThan(2 * STRETCHES + 20);
  expect(written()).toBeLessThan(LINES / 4);
  // Each line is one row, and what a conversation begins with is some more.
  expect(rows()).toBeLessThan(LINES + 40);
  expect(rest(await exported('c2'))).toBe(rest(await exported('c1')));
  expect(rest(await backedUp('c2'))).toBe(rest(await backedUp('c1')));
});

test('an export and a page read many messages per statement, in the stored and in the shown view', async () => {
  installSimulator();
  await adopt('c1');
  const statements = await countStatements('c1');
  const turns = countTurns();
  const stored = await exported('c1');
  expect(statements()).toBeLessThan(STRETCHES + 20);
  expect(turns()).toBeGreaterThan((2 * TURNS) / 100 - 2);
  expect(rest(await exported('c1', 'shown'))).toBe(rest(stored));
  expect(await listMessages('c1')).toHaveLength(2 * TURNS);
  expect(statements()).toBeLessThan(3 * STRETCHES + 60);
});

test('texts of any length are copied completely', async () => {
  installSimulator();
  const lines = createLongBackup(12).split('\n');
  const lengths = [10, 1_299, 1_301, 70_000, 700_000, 0];
  const changed = lines.map((line, nth) =>
    line.replace('"word"', `"${'w'.repeat(lengths[nth % lengths.length] ?? 0)}"`),
  );
  await adopt('c1', changed.join('\n'));
  expect(await stubOf('c1').forkConversation('c2', undefined)).toMatchObject({ ok: true });
  const messages = (text: string) => text.split('\n').filter((line) => line.startsWith('["message"'));
  expect(messages(await backedUp('c2'))).toEqual(messages(changed.join('\n')));
  expect(rest(await exported('c2'))).toBe(rest(await exported('c1')));
});
