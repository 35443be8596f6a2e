import type { Bindings } from '../objects/bindings.ts';
import { pluggedOne, singleSeam } from '../rooms/rooms.ts';

type Consume = (batch: MessageBatch<string>, env: Bindings, ctx: ExecutionContext) => Promise<void>;

/** Consumes the queue of the Worker. */
export const QUEUE = singleSeam<Consume>()('queue');

/** Has the room that has one consume the queue. Without it what is still there comes again, and ends in the second queue. */
export const consumeQueue: Consume = async (batch, env, ctx) => {
  const consume = pluggedOne(QUEUE);
  if (consume) await consume(batch, env, ctx);
  else batch.retryAll();
};
