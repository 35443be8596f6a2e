import { createApp } from '#edge/app.ts';
import { enableDevelopmentMode } from '#edge/config/settings.ts';
import { Conversation as RealConversation } from '#edge/conversations/object/conversation.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { Account as RealAccount } from '#edge/money/account/account.ts';
import { Batch as RealBatch } from '#edge/plugins/batches/batch.ts';
import { Pool as RealPool } from '#edge/plugins/pools/pool.ts';
import { Inbox as RealInbox } from '#edge/plugins/webhooks/inbox/inbox.ts';
import { createConsumer } from '#edge/plugins/webhooks/webhook-job.ts';
import { PLUGINS } from '#edge/plugins.ts';
import { labelled } from './labelled.ts';

// Only in development a tool may be on the same machine.
enableDevelopmentMode();

/** How far the clocks of all objects are turned; milliseconds. */
let aheadMs = 0;
const realNow = Date.now.bind(Date);
Date.now = () => realNow() + aheadMs;

/** Has an object do what is due by its clock. */
async function ringAlarm(storage: DurableObjectStorage, ring: () => Promise<void>): Promise<void> {
  for (let at = await storage.getAlarm(); at !== null && at <= Date.now(); at = await storage.getAlarm()) {
    await storage.deleteAlarm();
    await ring();
  }
}

/** The objects that were called: what rings their alarms. */
const called = new Map<string, () => Promise<void>>();

async function ringAll(): Promise<Response> {
  for (const ring of called.values()) await ring();
  return new Response();
}

/** What the platform bills beside CPU, since the isolate started. */
const counts = { objectCalls: 0, rowsWritten: 0, kvReads: 0 };

/** Has the rows counted that an object writes: index entries, rewritten rows and alarms too. */
function countRows(storage: DurableObjectStorage): void {
  const exec = storage.sql.exec.bind(storage.sql);
  const setAlarm = storage.setAlarm.bind(storage);
  const counted: typeof exec = (query, ...values) => {
    const cursor = exec(query, ...values);
    // A statement that writes has been carried out by now.
    counts.rowsWritten += cursor.rowsWritten;
    return cursor as ReturnType<typeof exec<never>>;
  };
  Object.defineProperty(storage.sql, 'exec', { value: counted });
  Object.defineProperty(storage, 'setAlarm', {
    value: (time: number | Date) => {
      counts.rowsWritten += 1;
      return setAlarm(time);
    },
  });
}

export class Account extends RealAccount {
  constructor(ctx: DurableObjectState, env: Bindings) {
    countRows(ctx.storage);
    super(ctx, countEnv(env));
  }

  async ringAlarm(): Promise<void> {
    await ringAlarm(this.ctx.storage, () => this.alarm());
  }
}

export class Batch extends RealBatch {
  constructor(ctx: DurableObjectState, env: Bindings) {
    countRows(ctx.storage);
    super(ctx, countEnv(env));
  }
}

export class Pool extends RealPool {
  constructor(ctx: DurableObjectState, env: Bindings) {
    countRows(ctx.storage);
    super(ctx, countEnv(env));
  }

  async ringAlarm(): Promise<void> {
    await ringAlarm(this.ctx.storage, () => this.alarm());
  }
}

export class Conversation extends RealConversation {
  constructor(ctx: DurableObjectState, env: Bindings) {
    countRows(ctx.storage);
    super(ctx, countEnv(env));
  }

  async ringAlarm(): Promise<void> {
    await ringAlarm(this.ctx.storage, () => this.alarm());
  }
}

export class Inbox extends RealInbox {
  constructor(ctx: DurableObjectState, env: Bindings) {
    countRows(ctx.storage);
    super(ctx, countEnv(env));
  }

  async ringAlarm(): Promise<void> {
    await ringAlarm(this.ctx.storage, () => this.alarm());
  }
}

/** A stub whose calls are counted. */
function countCalls<T extends object>(stub: T): T {
  return new Proxy(stub, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        counts.objectCalls += 1;
        return Reflect.apply(value, target, args) as unknown;
      };
    },
  });
}

/** @param hasAlarms whether its objects have a `ringAlarm` */
function countNamespace<T extends Rpc.DurableObjectBranded | undefined>(
  namespace: DurableObjectNamespace<T>,
  hasAlarms = false,
): DurableObjectNamespace<T> {
  return new Proxy(namespace, {
    get(target, name) {
      if (name === 'get') {
        return (id: DurableObjectId) => {
          if (hasAlarms)
            called.set(String(id), () => (target.get(id) as unknown as { ringAlarm(): Promise<void> }).ringAlarm());
          return countCalls(target.get(id));
        };
      }
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

function countReads(store: KVNamespace): KVNamespace {
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        if (name === 'get' || name === 'getWithMetadata' || name === 'list') counts.kvReads += 1;
        return Reflect.apply(value, target, args) as unknown;
      };
    },
  });
}

/** The same for the same: what the edge remembers, it remembers for an environment. */
function countEnv(env: Bindings): Bindings {
  const known = counting.get(env);
  if (known) return known;
  const made = {
    ...env,
    STORE: countReads(env.STORE),
    ACCOUNT: countNamespace(env.ACCOUNT, true),
    CONVERSATION: countNamespace(env.CONVERSATION, true),
    INBOX: countNamespace(env.INBOX, true),
    POOL: countNamespace(env.POOL, true),
    BATCH: countNamespace(env.BATCH),
  };
  counting.set(env, made);
  return made;
}

const counting = new WeakMap<Bindings, Bindings>();

const app = createApp({ plugins: PLUGINS });
const consume = createConsumer({ fetch: labelled });

export default {
  fetch(request: Request, env: Bindings, ctx: ExecutionContext): Response | Promise<Response> {
    if (new URL(request.url).pathname === '/counts') {
      return Response.json(counts);
    }
    if (new URL(request.url).pathname === '/later') {
      aheadMs += Number(new URL(request.url).searchParams.get('ms'));
      return ringAll();
    }
    return app.fetch(request, countEnv(env), ctx);
  },
  async queue(batch: MessageBatch<string>, env: Bindings, ctx: ExecutionContext): Promise<void> {
    await consume(batch, countEnv(env), ctx);
  },
};
