import type { Bindings } from '../rooms/bindings.ts';
import { pluggedOne, singleSeam } from '../rooms/rooms.ts';

type Consume = (batch: MessageBatch<string>, env: Bindings, ctx: ExecutionContext) => Promise<void>;

/** Consumes the queue of the Worker. */
export const QUEUE = singleSeam<Consume>()('queue');

/** Has a room consume the queue. What nobody consumes comes again, and ends in the second queue. */
export const consumeQueue: Consume = async (batch, env, ctx) => {
  const consume = pluggedOne(QUEUE);
  if (consume) await consume(batch, env, ctx);
  else batch.retryAll();
};
