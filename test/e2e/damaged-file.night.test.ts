/** Files that a disk has damaged: `test/edge/conversations/object/damaged-rows.test.ts` has rows alone. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, onTestFinished, test } from 'vitest';
import { startSimulatingEdge } from '#test/support/edge.ts';

const QUICK = { SIMULATOR_TTFT_MS: '0', SIMULATOR_TOKENS_PER_SECOND: '0' };
const PAGE = 4_096;

/** @returns a database without the log beside its file, which has what was written last. */
function flushed(path: string): DatabaseSync {
  const database = new DatabaseSync(path);
  database.exec('pragma wal_checkpoint(truncate)');
  return database;
}

/** Overwrites the first page of tables in the file of each conversation. @returns how many files there are */
async function damageFiles(persist: string, tables: readonly string[]): Promise<number> {
  const files = await readdir(persist, { recursive: true });
  const ours = files.filter((file) => /Conversation.*\/[0-9a-f]{64}\.sqlite$/.test(file));
  for (const file of ours) {
    const database = flushed(join(persist, file));
    const named = tables.map((table) => `'${table}'`).join();
    const pages = database.prepare(`select rootpage from sqlite_master where name in (${named})`).all();
    database.close();
    const bytes = await readFile(join(persist, file));
    for (const { rootpage } of pages) bytes.fill('x', (Number(rootpage) - 1) * PAGE, Number(rootpage) * PAGE);
    await writeFile(join(persist, file), bytes);
  }
  return ours.length;
}

test.each([
  ['Conversation', 'GET', '/conversations/damaged'],
  ['Account', 'POST', '/messages'],
  ['Pool', 'GET', '/pools/deployment'],
])(
  'a database file that cannot be opened is reported as damaged, with the name of its object: %s',
  async (kind, method, path) => {
    const persist = await mkdtemp(join(tmpdir(), 'sluice-'));
    onTestFinished(() => rm(persist, { recursive: true, force: true }));
    const start = async () => await startSimulatingEdge({ ...QUICK, DEPLOYMENT_LIMITS: '{"usd_total":100}' }, persist);
    let edge = await start();
    onTestFinished(() => edge.stop());
    const asked = { model: 'claude-haiku-4-5', max_tokens: 50, stream: false };
    const body = JSON.stringify({ ...asked, conversation: 'damaged', messages: [{ role: 'user', content: 'Hello' }] });
    const call = async (way: string, to: string) => {
      const headers = { 'content-type': 'application/json' };
      return await fetch(edge.url + to, { method: way, headers, body: way === 'POST' ? body : null });
    };
    expect((await call('POST', '/messages')).status).toBe(200);
    await edge.stop();
    const files = (await readdir(persist, { recursive: true })).filter((file) =>
      new RegExp(`-${kind}/[0-9a-f]{64}\\.sqlite$`).test(file),
    );
    expect(files).toHaveLength(1);
    for (const file of files) {
      flushed(join(persist, file)).close();
      const bytes = await readFile(join(persist, file));
      await writeFile(join(persist, file), bytes.fill('x', 0, 100));
    }
    edge = await start();
    for (const [way, to] of [
      [method, path],
      ['POST', '/messages'],
    ] as const) {
      const answer = await call(way, to);
      expect([answer.status, answer.headers.get('x-should-retry')]).toEqual([500, null]);
      expect(await answer.text()).toContain('its stored data is damaged');
    }
    const logged = edge.log.flatMap(({ error_type }) => (error_type === undefined ? [] : [String(error_type)]));
    expect(logged.map((type) => type.split(':')[0])).toEqual([
      `${kind.toLowerCase()}_damaged`,
      `${kind.toLowerCase()}_damaged`,
    ]);
  },
);

test.each(['turns messages', 'messages', 'pieces'])(
  'a conversation with a damaged file can be deleted and started again, and other conversations work: %s',
  async (names) => {
    const tables = names.split(' ');
    const persist = await mkdtemp(join(tmpdir(), 'sluice-'));
    onTestFinished(() => rm(persist, { recursive: true, force: true }));
    const start = async () => await startSimulatingEdge(QUICK, persist);
    let edge = await start();
    onTestFinished(() => edge.stop());
    const call = async (method: string, path: string, body?: object) => {
      const headers = { 'content-type': 'application/json' };
      const response = await fetch(edge.url + path, { method, headers, body: body ? JSON.stringify(body) : null });
      return { status: response.status, text: await response.text() };
    };
    const say = (conversation: string) =>
      call('POST', '/messages', {
        conversation,
        model: 'claude-haiku-4-5',
        max_tokens: 50,
        stream: false,
        messages: [{ role: 'user', content: 'Hello' }],
      });
    expect((await say('damaged')).status).toBe(200);
    await edge.stop();
    expect(await damageFiles(persist, tables)).toBe(1);
    edge = await start();
    const answers = [await call('GET', '/conversations/damaged'), await say('damaged')];
    // What is damaged in the others is not read.
    if (tables.includes('turns'))
      for (const answer of answers) {
        expect(answer).toMatchObject({ status: 500, text: expect.stringContaining('is damaged: its tables') });
      }
    expect((await say('sound')).status).toBe(200);
    expect((await call('DELETE', '/conversations/damaged')).status).toBe(200);
    expect((await call('GET', '/conversations/damaged')).status).toBe(404);
    expect((await say('damaged')).status).toBe(200);
  },
);
