import { reset } from 'cloudflare:test';
import { afterEach, beforeAll, expect, vi } from 'vitest';
import { room } from '../../src/http/body-room.ts';

// Files share an isolate, one after the other: each begins with empty objects.
beforeAll(async () => {
  await reset();
});

// A request that has ended, however it ended, has given back the room of its body.
afterEach(async () => {
  await vi.waitFor(() => expect({ ...room }).toEqual({ taken: 0, strange: 0 }), 10_000);
});
