import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { expect, test, vi } from 'vitest';
import { getInboxStub } from '#edge/durable/stubs.ts';
import { Inbox } from '#edge/plugins/webhooks/inbox/inbox.ts';
import { ALARMS, COMMANDS } from '#test/simulation/storage-commands.ts';
import { bindings } from '#test/support/conversations.ts';

const stub = () => getInboxStub(bindings, {}, 'tickets');

test.each(COMMANDS)('the storage of an object: $name', async ({ run: ask, expected: answer }) => {
  const told = await runInDurableObject(stub(), async (_, { storage }) => {
    await storage.deleteAll();
    await storage.deleteAlarm();
    return await ask(storage);
  });
  expect(told).toEqual(answer);
});

test.each(ALARMS)('the alarm of an object: $name', async ({ handle, expected: answer, alarmAfter: after }) => {
  let told: unknown;
  vi.spyOn(Inbox.prototype, 'alarm').mockImplementation(async function alarm(this: Inbox) {
    told = await handle((this as unknown as { ctx: DurableObjectState }).ctx.storage);
  });
  await runInDurableObject(stub(), (_, { storage }) => storage.setAlarm(Date.now() + 60_000));
  expect(await runDurableObjectAlarm(stub())).toBe(true);
  expect(told).toEqual(answer);
  expect(await runInDurableObject(stub(), (_, { storage }) => storage.getAlarm())).toBe(after);
});
