import { runInDurableObject } from 'cloudflare:test';
import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { GRACE_MS } from '#edge/conversations/history/storage/rows.ts';
import { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import { END_OF_STREAM, TurnEventLog } from '#edge/conversations/turn/event-log.ts';
import { installSimulator, stubOf } from '#test/support/conversations.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { createBody, runTurn } from '#test/support/turns.ts';

// Its tables are there.
beforeEach(async () => {
  installSimulator();
  await runTurn(createBody('Hello'));
});
const ROW = { seq: 1, id: 'turn_x', beganAt: 0 };
const HEAD = '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":';
const LONG = 'x'.repeat(50_000);

type Step = 'delta' | 'long delta' | 'whole' | 'odd' | 'store' | 'show' | 'crash';
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.constant('delta' as const) },
  { weight: 4, arbitrary: fc.constant('store' as const) },
  fc.constantFrom<Step[]>('long delta', 'whole', 'odd', 'show', 'crash'),
);

/** @returns all that a follower is sent, from the event after one on */
async function followed(log: TurnEventLog, after: number): Promise<string> {
  const text = await new Response(log.follow(after)).text();
  return text.slice(0, text.lastIndexOf(String.fromCharCode(END_OF_STREAM)));
}

/** @returns the numbers of the events in a text */
const numbersIn = (text: string) => [...text.matchAll(/^id: turn_x-(\d+)$/gm)].map(([, number]) => Number(number));

test('a log uses few rows, and its followers get each stored event once and in order', async () => {
  await runInDurableObject(stubOf(), async (_, state) => {
    await tryAsyncCases(
      caseCount(200),
      fc.array(step, { minLength: 1, maxLength: 60 }),
      fc.nat(80),
      async (steps, place) => {
        const transcript = new Transcript(state.storage);
        transcript.runWriteStatement('delete from log');
        transcript.runWriteStatement('delete from turns');
        transcript.insertRow('turns', {
          seq: 1,
          id: 'turn_x',
          request_id: 'r',
          hash: 'h',
          status: 'running',
          route: 'r',
          model: 'm',
          began_at: 0,
          sent_from: 0,
          follows: 0,
        });
        let log = new TurnEventLog(transcript, ROW);
        const kept: number[] = [];
        const lost: number[] = [];
        let fresh: number[] = [];
        let stores = 0;
        // The first event after a crash is stored before it is shown.
        let mayShow = true;
        // Whoever was cut off comes again at once, from any event that it may have seen.
        let live: { after: number; isLost: boolean; text: Promise<string> } | undefined;
        const comeAgain = () => {
          const seen = [0, ...kept, ...lost];
          const after = seen[place % seen.length] ?? 0;
          live = { after, isLost: lost.includes(after), text: followed(log, after) };
        };
        for (const one of steps) {
          // What a listener has asked for comes before the next step.
          await scheduler.wait(0);
          if (one === 'crash') {
            if (mayShow) lost.push(...fresh);
            [fresh, mayShow] = [[], false];
            const events = kept.at(-1) ?? 0;
            log = new TurnEventLog(transcript, ROW, { events, rows: transcript.log.countRowsOfTurn(1) });
            log.skip(1_000);
            comeAgain();
          } else if (one === 'show') {
            if (mayShow) log.show();
          } else if (one === 'store') {
            if (fresh.length > 0) [stores, mayShow] = [stores + 1, true];
            log.store({ at: 1, unseenMs: 0 });
            kept.push(...fresh);
            fresh = [];
          } else {
            const said = one === 'long delta' ? LONG : `"said ${log.events}`;
            const string = JSON.stringify(said).slice(1, -1);
            if (one === 'whole') log.add({ event: 'ping', data: '{"type":"ping"}' });
            else if (one === 'odd') log.add({ event: 'ping', data: '{"type":"ping","odd":"\u0002"}' });
            else log.add({ event: 'content_block_delta', data: `${HEAD}"${string}"}}` });
            fresh.push(log.events);
          }
        }
        // Each turn ends with an event, also one that a crash has ended.
        log.add({ event: 'message_stop', data: '{"type":"message_stop"}' });
        fresh.push(log.events);
        stores += 1;
        log.setSummary('{}');
        log.store();
        log.end();
        kept.push(...fresh);

        if (live) {
          const { after, isLost, text } = live;
          expect(numbersIn(await text)).toEqual(kept.filter((number) => number > after));
          const told = [...(await text).matchAll(/^: sluice-gap (\d+)-(\d+)$/gm)].map(([, , last]) => Number(last));
          expect(told).toEqual(isLost ? [after] : []);
        }
        const all = await followed(log, 0);
        expect(numbersIn(all)).toEqual(kept);
        expect(transcript.log.countRowsOfTurn(1)).toBeLessThanOrEqual(Math.max(1, stores));
        const again = new TurnEventLog(
          transcript,
          ROW,
          { events: kept.at(-1) ?? 0, rows: transcript.log.countRowsOfTurn(1) },
          '{}',
        );
        const seen = [0, ...kept, ...lost].sort((one, other) => one - other);
        const after = seen[place % seen.length] ?? 0;
        const rest = await followed(again, Math.min(after, (kept.at(-1) ?? 1) - 1));
        expect(numbersIn(rest)).toEqual(kept.filter((number) => number > Math.min(after, (kept.at(-1) ?? 1) - 1)));
        const told = /^: sluice-gap (\d+)-(\d+)$/m.exec(rest);
        const isLost = lost.includes(after) && after < (kept.at(-1) ?? 0);
        expect(told !== null).toBe(isLost);
        if (told) expect(Number(told[2])).toBe(after);
      },
    );
  });
});

test('nine stores of a log write the same row, which one row write deletes', async () => {
  await runInDurableObject(stubOf(), async (_, state) => {
    const transcript = new Transcript(state.storage);
    transcript.runWriteStatement('delete from log');
    const log = new TurnEventLog(transcript, ROW);
    const before = transcript.rowsWritten;
    for (let stored = 0; stored < 9; stored += 1) {
      for (let nth = 0; nth < 50; nth += 1) {
        log.add({ event: 'content_block_delta', data: `${HEAD}"word"}}` });
      }
      log.store({ at: stored, unseenMs: 0 });
    }
    expect(transcript.rowsWritten - before).toBe(9);
    transcript.log.delete(1);
    expect(transcript.rowsWritten - before).toBe(10);
  });
});

test('a log overwrites only expired logs, also if the number of a deleted turn is reused', async () => {
  await runInDurableObject(stubOf(), (_, state) => {
    const transcript = new Transcript(state.storage);
    for (const table of ['log', 'turns']) transcript.runWriteStatement(`delete from ${table}`);
    const turn = (seq: number, beganAt: number) => {
      transcript.insertRow('turns', {
        seq,
        id: `turn_${seq}`,
        request_id: 'r',
        hash: 'h',
        status: 'running',
        route: 'r',
        model: 'm',
        began_at: beganAt,
        sent_from: 0,
        follows: 0,
      });
      return { seq, id: `turn_${seq}`, beganAt };
    };
    const end = (seq: number, endedAt: number) => {
      transcript.updateRows('turns', { status: 'complete', ended_at: endedAt }, 'seq = ?', seq);
      transcript.log.recordTurnEndTime({ endedAt });
    };
    const written = (log: TurnEventLog, count: number) => {
      for (let at = 0; at < count; at += 1) {
        log.add({ event: 'a', data: 'x'.repeat(140_000) });
        log.store();
      }
    };
    written(new TurnEventLog(transcript, turn(1, 0)), 1);
    end(1, 1);
    for (const table of ['log', 'turns']) transcript.runWriteStatement(`delete from ${table}`);
    // Its number again, in a turn that is still running, and whose log is long.
    const again = turn(1, GRACE_MS + 1);
    written(new TurnEventLog(transcript, again), 3);
    expect(transcript.log.readLog(again).rows).toBe(3);
    end(1, GRACE_MS + 2);
    // Within ten minutes of its end another turn leaves it as it is; a later one takes its place, row by row.
    const next = turn(2, 2 * GRACE_MS);
    written(new TurnEventLog(transcript, next), 1);
    expect([transcript.log.readLog(again).rows, transcript.log.readLog(next).rows]).toEqual([3, 1]);
    const later = turn(3, 3 * GRACE_MS);
    written(new TurnEventLog(transcript, later), 2);
    expect([again, next, later].map((one) => transcript.log.readLog(one).rows)).toEqual([1, 1, 2]);
  });
});
