import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DurableObjectAlarm } from '#edge/durable/alarm.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';

/** A storage that holds one alarm, and counts how often it is set. */
function storageWith(alarm: number | null) {
  const held = { alarm, sets: 0 };
  const storage = {
    getAlarm: async () => held.alarm,
    setAlarm: async (time: number) => {
      held.alarm = time;
      held.sets += 1;
    },
  } as unknown as DurableObjectStorage;
  return { held, storage };
}

const failing = (thrown: unknown) => {
  throw thrown;
};

const time = fc.integer({ min: 0, max: 50 });
const step = fc.oneof(
  fc.record({ does: fc.constantFrom('wakeFor', 'watch', 'ring'), time }),
  fc.constant({ does: 'endWatch', time: 0 }),
);

test('no due work is missed, and a watch that ends leaves no alarm', async () => {
  await tryAsyncCases(caseCount(2_000), fc.option(time), fc.array(step, { maxLength: 12 }), async (begun, steps) => {
    const { held, storage } = storageWith(begun);
    const alarm = new DurableObjectAlarm(storage, () => -1, failing);
    await alarm.loadAlarmTime();
    let due = begun === null ? [] : [begun];
    for (const { does, time } of steps) {
      if (does === 'wakeFor') {
        alarm.scheduleAt(time);
        due.push(time);
      } else if (does === 'watch') {
        alarm.scheduleWatchAt(time);
        expect(held.alarm).toBeLessThanOrEqual(time);
      } else if (does === 'endWatch') {
        alarm.endWatch();
        if (due.length > 0) expect(held.alarm).toBe(Math.min(...due));
      } else if (held.alarm !== null) {
        const now = Math.max(time, held.alarm);
        held.alarm = null;
        const earliest = Math.min(...due);
        const mayBeDue = alarm.markFired(now);
        expect(mayBeDue).toBe(due.length === 0 || earliest <= now);
        // Whoever is told so does what is due, and says when the next thing is.
        if (mayBeDue) due = [];
        else alarm.scheduleAt(earliest);
      }
      if (due.length > 0) expect(held.alarm).toBeLessThanOrEqual(Math.min(...due));
    }
  });
});

test('an alarm is written only when it changes', async () => {
  const { held, storage } = storageWith(null);
  const alarm = new DurableObjectAlarm(storage, () => 0, failing);
  await alarm.loadAlarmTime();
  alarm.scheduleWatchAt(30);
  alarm.scheduleWatchAt(40);
  alarm.scheduleAt(600);
  expect(held).toEqual({ alarm: 30, sets: 1 });
  alarm.endWatch();
  alarm.endWatch();
  expect(held).toEqual({ alarm: 600, sets: 2 });
});

test('an alarm that is more than a minute overdue is set again when the object loads', async () => {
  const NOW = 500_000;
  const setTo = async (at: number) => {
    const { held, storage } = storageWith(at);
    const alarm = new DurableObjectAlarm(storage, () => NOW, failing);
    await alarm.loadAlarmTime();
    return held;
  };
  expect(await setTo(NOW - 60_001)).toEqual({ alarm: NOW + 1, sets: 1 });
  // One that is only late still comes.
  expect(await setTo(NOW - 60_000)).toEqual({ alarm: NOW - 60_000, sets: 0 });
  expect(await setTo(NOW + 5)).toEqual({ alarm: NOW + 5, sets: 0 });
});

test('work that is due while an alarm is handled is scheduled for the next millisecond', async () => {
  const { held, storage } = storageWith(70);
  const alarm = new DurableObjectAlarm(storage, () => 70, failing);
  await alarm.loadAlarmTime();
  held.alarm = null;
  alarm.markFired(70);
  alarm.scheduleAt(70);
  expect(held.alarm).toBe(71);
});
