import { beforeEach, expect, test, vi } from 'vitest';
import * as z from 'zod';

/** What an app shares holds for the whole isolate: each test has the package anew. */
let sluice: typeof import('#edge/toolkit/worker.ts');
let kit: typeof import('#edge/kit/rooms/rooms.ts');
beforeEach(async () => {
  vi.resetModules();
  sluice = await import('#edge/toolkit/worker.ts');
  kit = await import('#edge/kit/rooms/rooms.ts');
});

const namesInUse = () => kit.pluggedInto(kit.seam<string>()('name'));

test('rooms are asked in one order, however they are listed', () => {
  sluice.createApp({ rooms: sluice.allRooms.toReversed() });
  expect(namesInUse()).toEqual(sluice.allRooms.map(({ name }) => name));
  sluice.createApp({ rooms: sluice.allRooms });
  sluice.createApp();
});

test('the package has each room by its name, and the class of each object that one needs', () => {
  const exported = new Map<string, unknown>(Object.entries(sluice));
  const rooms = sluice.allRooms.map(
    ({ name }) => `${name.replaceAll(/-\w/g, ([, letter = '']) => letter.toUpperCase())}Room`,
  );
  expect(rooms.map((name) => exported.get(name))).toEqual(sluice.allRooms);
  const classes = sluice.allRooms.flatMap(({ bindings = {} }) => Object.values(bindings).filter((of) => of !== null));
  expect(classes.length).toBeGreaterThan(2);
  expect(classes.filter((name) => typeof exported.get(name) !== 'function')).toEqual([]);
});

test('what has no room in a Worker is refused with what to do', () => {
  const tool = { description: 'Tells the time.', schema: z.object({}), run: () => 'noon' };
  expect(() => sluice.createApp({ tools: { tool } })).toThrow(
    'createApp: tools is for the room runs. Put `runsRoom` into `rooms`, too.',
  );
  expect(() => sluice.createApp({ webhooks: [] })).toThrow('Put `webhooksRoom` into `rooms`, too.');
  expect(() => sluice.createApp({ rooms: [sluice.runsRoom] })).toThrow(
    'rooms: runs needs agents. Put it into the list, too.',
  );
  sluice.createApp({ rooms: [sluice.agentsRoom, sluice.runsRoom, sluice.webhooksRoom], tools: { tool }, webhooks: [] });
  sluice.createApp({ webhooks: [] });
  expect(() => sluice.createApp({ rooms: sluice.allRooms })).toThrow('different rooms');
});
