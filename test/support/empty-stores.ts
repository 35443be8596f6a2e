import { reset } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { beforeAll } from 'vitest';
import type { Bindings } from '../../src/durable/bindings.ts';

// Files of one runtime share its objects and its store: none may find what another one has left.
beforeAll(async () => {
  await reset();
  const { STORE } = env as unknown as Bindings;
  for (let isEmpty = false; !isEmpty; ) {
    const { keys, list_complete } = await STORE.list();
    for (const { name } of keys) await STORE.delete(name);
    isEmpty = list_complete;
  }
});
