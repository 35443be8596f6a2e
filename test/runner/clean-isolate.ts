import { env } from 'cloudflare:workers';
import { afterAll, afterEach, beforeAll, expect, vi } from 'vitest';
import type { Bindings } from '../../src/durable/bindings.ts';
import { Room, room } from '../../src/http/body-room.ts';
import { watchObjects } from '../support/in-flight.ts';
import { resetAll } from '../support/reset.ts';

const { STORE } = env as unknown as Bindings;

// Files share an isolate, one after the other: each leaves empty objects, and an empty store. What asks all accounts of the
// list would ask those of every file before it, and make an object of each.
beforeAll(watchObjects);
afterAll(async () => {
  await resetAll();
  for (;;) {
    const { keys } = await STORE.list();
    if (keys.length === 0) break;
    await Promise.all(keys.map(({ name }) => STORE.delete(name)));
  }
});

// A request that has ended, however it ended, has given back the room of its body.
afterEach(async () => {
  await vi.waitFor(() => expect({ ...room }).toEqual({ ...new Room() }), 10_000);
});
