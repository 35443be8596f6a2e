/** A process that is killed: `test/simulation` kills objects, and no runtime with its disk. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, inject, test } from 'vitest';
import type { QuotaReport } from '#edge/money/account/usage-answers.schema.ts';
import {
  createBody,
  getJson,
  listMessages,
  PACED_VARS,
  postConversationMessage,
  readStreamEvents,
  resumeConversationStream,
  waitUntilSettled,
} from '#test/support/conversation-requests.ts';
import { startEdge } from '#test/support/edge.ts';
import { caseCount } from '#test/support/property-cases.ts';
import { areRowsAccepted } from '#test/support/restarting-edge.ts';
import { runNpmStart } from '#test/support/start.ts';

const KILLS = caseCount(50);

describe('a conversation whose process is killed', () => {
  test(`in mid-turn, ${KILLS} times, loses no more than the last moment of the forwarded text`, async () => {
    const state = await mkdtemp(join(tmpdir(), 'sluice-conversations-'));
    let edge = await startEdge(inject('worker'), PACED_VARS, state);
    const id = 'killed';
    let interrupted = 0;
    try {
      for (let round = 0; round < KILLS; round += 1) {
        const before = round === 0 ? [] : await listMessages(edge, id).catch(() => []);
        const started = postConversationMessage(edge, createBody(id, `Round ${round}: tell me about the sea`));
        const heard = started.then((response) => readStreamEvents(response)).catch(() => []);
        // Half of the kills come while the answer does, however late that begins.
        const isMidAnswer = round % 2 === 1;
        if (isMidAnswer) await started;
        await new Promise((resolve) => setTimeout(resolve, Math.random() * (isMidAnswer ? 150 : 350)));
        await edge.kill();
        const events = await heard;
        edge = await startEdge(inject('worker'), PACED_VARS, state);
        const shown = events.filter((event) => event.id !== '');
        // Who asks wakes the conversation, and its account says what the answer has cost.
        await listMessages(edge, id).catch(() => []);
        await waitUntilSettled(edge);
        const rows = await listMessages(edge, id).catch(() => []);
        expect(rows.slice(0, before.length)).toEqual(before);
        expect(areRowsAccepted(rows)).toBeUndefined();
        const last = shown.at(-1);
        if (last) {
          const turn = last.id.replace(/-\d+$/, '');
          const log = await readStreamEvents(await resumeConversationStream(edge, id, `${turn}-0`));
          expect(log.at(-1)?.event).toMatch(/^(error|message_stop)$/);
          const common = Math.min(log.length - 1, shown.length);
          expect(shown.slice(0, common)).toEqual(log.slice(0, common));
          // Half a minute of tokens would be lost without a log; a quarter of a second may be.
          expect(shown.length - common).toBeLessThan(80);
          if (log.at(-1)?.event === 'error') interrupted += 1;
        }
        const next = await readStreamEvents(
          await postConversationMessage(edge, createBody(id, 'Go on', { max_tokens: 20 })),
        );
        expect(next.at(-1)?.event, JSON.stringify(next.at(-1))).toBe('message_stop');
        const after = await listMessages(edge, id);
        expect(after.slice(0, rows.length)).toEqual(rows);
        expect(after.length).toBe(rows.length + 2);
      }
      // By chance few kills may come before anything was shown.
      expect(interrupted).toBeGreaterThan(KILLS < 50 ? 0 : 10);
      await waitUntilSettled(edge);
      const list = await getJson<{ data: { id: string; messages: number }[] }>(edge, '/conversations');
      expect(list.data).toMatchObject([{ id, state: 'idle', messages: (await listMessages(edge, id)).length }]);
      const standing = await getJson<QuotaReport>(edge, '/accounts/dev');
      expect(standing.day.held_usd).toBe(0);
    } finally {
      await edge.stop();
      await rm(state, { recursive: true, force: true });
    }
  });

  test('under npm start ends its turn as interrupted, and continues after a restart', async () => {
    const state = await mkdtemp(join(tmpdir(), 'sluice-started-'));
    let started = await runNpmStart([], state);
    try {
      const response = await postConversationMessage(
        started,
        createBody('person', 'Tell me about the sea', { max_tokens: 2_000 }),
        {
          headers: { 'sluice-simulate': 'tps=60' },
        },
      );
      const shown = await readStreamEvents(response, 8);
      await started.stop('SIGKILL');
      started = await runNpmStart([], state);
      const rest = await readStreamEvents(await resumeConversationStream(started, 'person', shown.at(-1)?.id ?? ''));
      expect(rest.at(-1)?.event).toBe('error');
      const rows = await listMessages(started, 'person');
      expect(rows.map(({ status }) => status)).toEqual(['interrupted', 'interrupted']);
      await waitUntilSettled(started);
      expect(
        (await readStreamEvents(await postConversationMessage(started, createBody('person', 'Go on')))).at(-1)?.event,
      ).toBe('message_stop');
    } finally {
      await started.stop();
      await rm(state, { recursive: true, force: true });
    }
  });
});
