import { createApp } from '../../src/app.ts';
import type { Bindings } from '../../src/env.ts';
import { Account as RealAccount } from '../../src/objects/account.ts';

export { Conversation } from '../../src/objects/conversation.ts';

/** What the platform bills beside CPU, since the isolate started. */
const counts = { objectCalls: 0, rowsWritten: 0, kvReads: 0 };
const cursors: { readonly rowsWritten: number }[] = [];

/** The account, with the rows that it writes counted: index entries, rewritten rows and alarms too. */
export class Account extends RealAccount {
  constructor(ctx: DurableObjectState, env: Bindings) {
    const { storage } = ctx;
    const exec = storage.sql.exec.bind(storage.sql);
    const setAlarm = storage.setAlarm.bind(storage);
    const counted: typeof exec = (query, ...values) => {
      const cursor = exec(query, ...values);
      cursors.push(cursor as unknown as { rowsWritten: number });
      return cursor as ReturnType<typeof exec<never>>;
    };
    Object.defineProperty(storage.sql, 'exec', { value: counted });
    Object.defineProperty(storage, 'setAlarm', {
      value: (time: number | Date) => {
        counts.rowsWritten += 1;
        return setAlarm(time);
      },
    });
    super(ctx, env);
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

function countNamespace<T extends Rpc.DurableObjectBranded | undefined>(
  namespace: DurableObjectNamespace<T>,
): DurableObjectNamespace<T> {
  return new Proxy(namespace, {
    get(target, name) {
      if (name === 'get') return (id: DurableObjectId) => countCalls(target.get(id));
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

const app = createApp();

export default {
  fetch(request: Request, env: Bindings, ctx: ExecutionContext): Response | Promise<Response> {
    if (new URL(request.url).pathname === '/counts') {
      for (const cursor of cursors.splice(0)) counts.rowsWritten += cursor.rowsWritten;
      return Response.json(counts);
    }
    return app.fetch(request, { ...env, ACCOUNT: countNamespace(env.ACCOUNT) }, ctx);
  },
};
