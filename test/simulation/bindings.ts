/** What the platform binds to the Worker, in a simulated world: objects, the store and the queue. */

import '#edge/with-all-plugins.ts';
import type { Upstream } from '#edge/claude/upstream.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { Account } from '#edge/money/account/account.ts';
import { Pool } from '#edge/plugins/pools/pool.ts';
import { Inbox } from '#edge/plugins/webhooks/inbox/inbox.ts';
import { alive, type Host, type Make } from './host.ts';
import type { World } from './world.ts';

/** Makes what stands behind a binding, by the name of the object. */
export type Makers = Partial<Record<'ACCOUNT' | 'CONVERSATION' | 'INBOX' | 'POOL', Make>>;

/** What the objects of the world that runs now are made of. */
interface Running {
  world: World;
  makers: Makers;
  upstream: Upstream | undefined;
  store: Map<string, string>;
  enqueue: (ids: readonly string[]) => Promise<void>;
}

let running: Running | undefined;

function now(): Running {
  if (!running) throw new Error('No world runs.');
  return running;
}

class SimulatedConversation extends Conversation {
  protected override upstream(): Upstream {
    const { upstream } = now();
    if (!upstream) throw new Error('This world has no upstream.');
    return upstream;
  }
}

const REAL: Required<Makers> = {
  ACCOUNT: (ctx) => new Account(ctx, env),
  CONVERSATION: (ctx) => new SimulatedConversation(ctx, env),
  INBOX: (ctx) => new Inbox(ctx, env),
  POOL: (ctx) => new Pool(ctx, env),
};

function namespace(binding: keyof Makers) {
  const stub = (name: string) => {
    const { world } = now();
    return new Proxy(
      {},
      {
        get: (_, method) => {
          // A stub may be returned by an async function, which asks whether it is a promise.
          if (typeof method !== 'string' || method === 'then') return undefined;
          return (...args: unknown[]) => world.call(hostOf(binding, name), method, args, method !== 'turn');
        },
      },
    );
  };
  return { idFromName: (name: string) => ({ name }), get: ({ name }: { name: string }) => stub(name) };
}

/** @returns the object behind a binding and a name. */
export function hostOf(binding: keyof Makers, name: string): Host {
  const { world, makers } = now();
  return world.host(binding.toLowerCase(), name, makers[binding] ?? REAL[binding]);
}

/** @returns the key-value store, whose answers come in any order, and fail. */
function keyValueStore() {
  const reach = async (label: string) => {
    const { world } = now();
    const isAlive = alive();
    const fault = world.fault();
    await world.hop(`store ${label}${fault === undefined ? '' : ` (${fault})`}`);
    // A write that is under way when its object dies arrives at once or never: not behind the writes of the next one.
    if (!isAlive()) await new Promise(() => {});
    return fault;
  };
  const done = async <T>(label: string, work: () => T): Promise<T> => {
    const fault = await reach(label);
    if (fault !== undefined && fault !== 'unanswered' && fault !== 'doubled') throw new Error('store unavailable');
    const result = work();
    if (fault === 'unanswered') throw new Error('store timed out');
    return result;
  };
  return {
    get: (key: string) => done(`get ${key}`, () => now().store.get(key) ?? null),
    put: (key: string, value: string) => done(`put ${key}`, () => void now().store.set(key, value)),
    delete: (key: string) => done(`delete ${key}`, () => void now().store.delete(key)),
    list: ({ prefix = '' }: { prefix?: string }) =>
      done(`list ${prefix}`, () => {
        const names = [...now().store.keys()].filter((key) => key.startsWith(prefix)).sort();
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
  STORE: keyValueStore(),
  ACCOUNT: namespace('ACCOUNT'),
  CONVERSATION: namespace('CONVERSATION'),
  INBOX: namespace('INBOX'),
  POOL: namespace('POOL'),
  QUEUE: { sendBatch: (messages: { body: string }[]) => now().enqueue(messages.map(({ body }) => body)) },
} as unknown as Bindings;

/** @returns the accounts as another isolate is bound to them: what it remembers is its own */
export function accountsOfIsolate(): Pick<Bindings, 'ACCOUNT'> {
  return { ACCOUNT: namespace('ACCOUNT') as unknown as Bindings['ACCOUNT'] };
}

/** Puts a world behind the bindings until the work has ended. */
export async function inWorld<T>(
  world: World,
  given: Partial<Omit<Running, 'world'>>,
  work: () => Promise<T>,
): Promise<T> {
  // What was remembered before is of another world.
  Object.assign(env, accountsOfIsolate());
  running = { world, makers: {}, upstream: undefined, store: new Map(), enqueue: async () => {}, ...given };
  try {
    return await work();
  } finally {
    world.end();
    running = undefined;
  }
}
