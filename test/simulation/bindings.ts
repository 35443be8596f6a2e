/** What the platform binds to the Worker, in a simulated world: objects, the store and the queue. */

import '#edge/with-all-plugins.ts';
import type { Upstream } from '#edge/claude/upstream.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { Account } from '#edge/money/account/account.ts';
import { Batch } from '#edge/plugins/batches/batch.ts';
import { Pool } from '#edge/plugins/pools/pool.ts';
import { Inbox } from '#edge/plugins/webhooks/inbox/inbox.ts';
import { type CreateObject, createAliveCheck, type Host } from './host.ts';
import type { World } from './world.ts';

/** Makes what stands behind a binding, by the name of the object. */
export type ObjectFactories = Partial<Record<'ACCOUNT' | 'BATCH' | 'CONVERSATION' | 'INBOX' | 'POOL', CreateObject>>;

/** What the objects of the world that runs now are made of. */
interface WorldBindings {
  world: World;
  factories: ObjectFactories;
  upstream: Upstream | undefined;
  store: Map<string, string>;
  enqueue: (ids: readonly string[]) => Promise<void>;
}

let running: WorldBindings | undefined;

function currentBindings(): WorldBindings {
  if (!running) throw new Error('No world runs.');
  return running;
}

function worldUpstream(): Upstream {
  const { upstream } = currentBindings();
  if (!upstream) throw new Error('This world has no upstream.');
  return upstream;
}

class SimulatedConversation extends Conversation {
  protected override upstream(): Upstream {
    return worldUpstream();
  }
}

class SimulatedBatch extends Batch {
  protected override upstream(): Upstream {
    return worldUpstream();
  }
}

const REAL_NAMESPACES: Required<ObjectFactories> = {
  ACCOUNT: (ctx) => new Account(ctx, env),
  BATCH: (ctx) => new SimulatedBatch(ctx, env),
  CONVERSATION: (ctx) => new SimulatedConversation(ctx, env),
  INBOX: (ctx) => new Inbox(ctx, env),
  POOL: (ctx) => new Pool(ctx, env),
};

function createNamespace(binding: keyof ObjectFactories) {
  const createStub = (name: string) => {
    const { world } = currentBindings();
    return new Proxy(
      {},
      {
        get: (_, method) => {
          // A stub may be returned by an async function, which asks whether it is a promise.
          if (typeof method !== 'string' || method === 'then') return undefined;
          return (...args: unknown[]) => world.call(findHost(binding, name), method, args, method !== 'handleTurn');
        },
      },
    );
  };
  return { idFromName: (name: string) => ({ name }), get: ({ name }: { name: string }) => createStub(name) };
}

/** @returns the object behind a binding and a name. */
export function findHost(binding: keyof ObjectFactories, name: string): Host {
  const { world, factories: makers } = currentBindings();
  return world.getHost(binding.toLowerCase(), name, makers[binding] ?? REAL_NAMESPACES[binding]);
}

/** @returns the key-value store, whose answers come in any order, and fail. */
function createKeyValueStore() {
  const delayOrFail = async (label: string) => {
    const { world } = currentBindings();
    const isAlive = createAliveCheck();
    const fault = world.nextFault();
    await world.hop(`store ${label}${fault === undefined ? '' : ` (${fault})`}`);
    // A write that is under way when its object dies arrives at once or never: not behind the writes of the next one.
    if (!isAlive()) await new Promise(() => {});
    return fault;
  };
  const performThenFail = async <T>(label: string, work: () => T): Promise<T> => {
    const fault = await delayOrFail(label);
    if (fault !== undefined && fault !== 'unanswered' && fault !== 'doubled') throw new Error('store unavailable');
    const result = work();
    if (fault === 'unanswered') throw new Error('store timed out');
    return result;
  };
  return {
    get: (key: string) => performThenFail(`get ${key}`, () => currentBindings().store.get(key) ?? null),
    put: (key: string, value: string) =>
      performThenFail(`put ${key}`, () => void currentBindings().store.set(key, value)),
    delete: (key: string) => performThenFail(`delete ${key}`, () => void currentBindings().store.delete(key)),
    list: ({ prefix = '' }: { prefix?: string }) =>
      performThenFail(`list ${prefix}`, () => {
        const names = [...currentBindings().store.keys()].filter((key) => key.startsWith(prefix)).sort();
        return { keys: names.map((name) => ({ name })), list_complete: true };
      }),
  };
}

/** One for all worlds: its settings are read once. */
export const env = {
  SIGNING_SECRET: 'a secret of more than thirty-two characters',
  ANTHROPIC_API_KEY: 'sk-ant-simulated',
  UPSTREAM_MAX_RETRIES: '1',
  DEFAULT_LIMITS: '{"usd_per_day":1}',
  STORE: createKeyValueStore(),
  ACCOUNT: createNamespace('ACCOUNT'),
  BATCH: createNamespace('BATCH'),
  CONVERSATION: createNamespace('CONVERSATION'),
  INBOX: createNamespace('INBOX'),
  POOL: createNamespace('POOL'),
  QUEUE: { sendBatch: (messages: { body: string }[]) => currentBindings().enqueue(messages.map(({ body }) => body)) },
} as unknown as Bindings;

/** @returns the accounts as another isolate is bound to them: what it remembers is its own */
export function createIsolateAccounts(): Pick<Bindings, 'ACCOUNT'> {
  return { ACCOUNT: createNamespace('ACCOUNT') as unknown as Bindings['ACCOUNT'] };
}

/** Puts a world behind the bindings until the work has ended. */
export async function runInWorld<T>(
  world: World,
  overrides: Partial<Omit<WorldBindings, 'world'>>,
  work: () => Promise<T>,
): Promise<T> {
  // What was remembered before is of another world.
  Object.assign(env, createIsolateAccounts());
  running = { world, factories: {}, upstream: undefined, store: new Map(), enqueue: async () => {}, ...overrides };
  try {
    return await work();
  } finally {
    world.dispose();
    running = undefined;
  }
}
