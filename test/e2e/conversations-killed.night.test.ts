/** A process that is killed: `test/simulation` kills objects, and no runtime with its disk. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, inject, test } from 'vitest';
import type { QuotaReport } from '#edge/money/account/usage-answers.schema.ts';
import { body, get, PACED, read, resume, rowsOf, say, settled } from '#test/support/conversing.ts';
import { startEdge } from '#test/support/edge.ts';
import { isAccepted } from '#test/support/lives.ts';
import { runs } from '#test/support/runs.ts';
import { npmStart } from '#test/support/start.ts';

const KILLS = runs(50);

describe('a process that is killed', () => {
  test(`in mid-turn, ${KILLS} times, loses nothing that was shown but the last moment`, async () => {
    const state = await mkdtemp(join(tmpdir(), 'sluice-conversations-'));
    let edge = await startEdge(inject('worker'), PACED, state);
    const id = 'killed';
    let interrupted = 0;
    try {
      for (let round = 0; round < KILLS; round += 1) {
        const before = round === 0 ? [] : await rowsOf(edge, id).catch(() => []);
        const started = say(edge, body(id, `Round ${round}: tell me about the sea`));
        const heard = started.then((response) => read(response)).catch(() => []);
        // Half of the kills come while the answer does, however late that begins.
        const isMidAnswer = round % 2 === 1;
        if (isMidAnswer) await started;
        await new Promise((resolve) => setTimeout(resolve, Math.random() * (isMidAnswer ? 150 : 350)));
        await edge.kill();
        const events = await heard;
        edge = await startEdge(inject('worker'), PACED, state);
        const shown = events.filter((event) => event.id !== '');
        // Who asks wakes the conversation, and its account says what the answer has cost.
        await rowsOf(edge, id).catch(() => []);
        await settled(edge);
        const rows = await rowsOf(edge, id).catch(() => []);
        expect(rows.slice(0, before.length)).toEqual(before);
        expect(isAccepted(rows)).toBeUndefined();
        const last = shown.at(-1);
        if (last) {
          const turn = last.id.replace(/-\d+$/, '');
          const log = await read(await resume(edge, id, `${turn}-0`));
          expect(log.at(-1)?.event).toMatch(/^(error|message_stop)$/);
          const common = Math.min(log.length - 1, shown.length);
          expect(shown.slice(0, common)).toEqual(log.slice(0, common));
          // Half a minute of tokens would be lost without a log; a quarter of a second may be.
          expect(shown.length - common).toBeLessThan(80);
          if (log.at(-1)?.event === 'error') interrupted += 1;
        }
        const next = await read(await say(edge, body(id, 'Go on', { max_tokens: 20 })));
        expect(next.at(-1)?.event, JSON.stringify(next.at(-1))).toBe('message_stop');
        const after = await rowsOf(edge, id);
        expect(after.slice(0, rows.length)).toEqual(rows);
        expect(after.length).toBe(rows.length + 2);
      }
      // By chance few kills may come before anything was shown.
      expect(interrupted).toBeGreaterThan(KILLS < 50 ? 0 : 10);
      await settled(edge);
      const list = await get<{ data: { id: string; messages: number }[] }>(edge, '/conversations');
      expect(list.data).toMatchObject([{ id, state: 'idle', messages: (await rowsOf(edge, id)).length }]);
      const standing = await get<QuotaReport>(edge, '/accounts/dev');
      expect(standing.day.held_usd).toBe(0);
    } finally {
      await edge.stop();
      await rm(state, { recursive: true, force: true });
    }
  });

  test('as a person started it, once', async () => {
    const state = await mkdtemp(join(tmpdir(), 'sluice-started-'));
    let started = await npmStart([], state);
    try {
      const response = await say(started, body('person', 'Tell me about the sea', { max_tokens: 2_000 }), {
        headers: { 'sluice-simulate': 'tps=60' },
      });
      const shown = await read(response, 8);
      await started.stop('SIGKILL');
      started = await npmStart([], state);
      const rest = await read(await resume(started, 'person', shown.at(-1)?.id ?? ''));
      expect(rest.at(-1)?.event).toBe('error');
      const rows = await rowsOf(started, 'person');
      expect(rows.map(({ status }) => status)).toEqual(['interrupted', 'interrupted']);
      await settled(started);
      expect((await read(await say(started, body('person', 'Go on')))).at(-1)?.event).toBe('message_stop');
    } finally {
      await started.stop();
      await rm(state, { recursive: true, force: true });
    }
  });
});
