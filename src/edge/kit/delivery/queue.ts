import type { Bindings } from '../plugins/bindings.ts';
import { getSinglePluginMember } from '../plugins/plugins.ts';

export type QueueConsumer = (batch: MessageBatch<string>, env: Bindings, ctx: ExecutionContext) => Promise<void>;

declare module '../plugins/plugins.ts' {
  interface Plugin {
    /** Consumes the Worker's queue. Only one plugin may have it. */
    readonly queue?: QueueConsumer;
  }
}

/** Lets a plugin consume the queue. Messages that no plugin consumes are delivered again, and end in the dead letter queue. */
export const consumeQueueByPlugin: QueueConsumer = async (batch, env, ctx) => {
  const consume = getSinglePluginMember('queue');
  if (consume) await consume(batch, env, ctx);
  else batch.retryAll();
};
