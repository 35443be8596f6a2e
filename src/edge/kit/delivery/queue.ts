import type { Bindings } from '../plugins/bindings.ts';
import { getSinglePluginMember } from '../plugins/plugins.ts';

type QueueConsumer = (batch: MessageBatch<string>, env: Bindings, ctx: ExecutionContext) => Promise<void>;

declare module '../plugins/plugins.ts' {
  interface Plugin {
    /** Creates the consumer of the Worker's queue for an app with these options. Only one plugin may have it. */
    readonly queue?: (app: object) => QueueConsumer;
  }
}

/** An app with the handler of its Worker's queue, so that `export default app` is a complete Worker. */
export interface QueueHandler {
  /** Consumes the Worker's queue for this app. If another app is exported, export it as `queue` beside that app's `fetch`. */
  queue: QueueConsumer;
}

/** The apps whose handler the Worker exports, by their options. */
const exportedApps = new WeakSet<object>();

/**
 * Adds the handler of the Worker's queue to an app. It lets a plugin consume the queue. Messages that no plugin consumes are
 * delivered again, and end in the dead letter queue.
 *
 * @param options the app's options
 */
export function addQueueHandler<App extends object>(app: App, options: object): App & QueueHandler {
  const consume = getSinglePluginMember('queue')?.(options) ?? (async (batch) => batch.retryAll());
  defineHandler(app, 'queue', () => {
    exportedApps.add(options);
    return consume;
  });
  // The runtime reads `scheduled` of the default export when the Worker starts, but reads `queue` only for the first event.
  defineHandler(app, 'scheduled', () => void exportedApps.add(options));
  return app as App & QueueHandler;
}

/** Defines a handler of an app. @param read called each time the handler is read, for example because the Worker exports it */
function defineHandler(app: object, name: string, read: () => QueueConsumer | undefined): void {
  Object.defineProperty(app, name, {
    get: read,
    // Tools that trace a Worker replace its handlers.
    set: (value: unknown) => Object.defineProperty(app, name, { value, writable: true, enumerable: true }),
    // `wrangler dev` copies the exported object.
    enumerable: true,
    configurable: true,
  });
}

/** @returns a sentence if a plugin consumes the queue and the Worker does not export the app's handler */
export function findMissingQueueHandler(options: object): string[] {
  if (getSinglePluginMember('queue') === undefined || exportedApps.has(options)) return [];
  return [
    'The queue handler is missing, so events are accepted but not processed: export the app itself, or `queue: app.queue` beside `fetch`, from your Worker’s main module.',
  ];
}
