import { DurableObject } from 'cloudflare:workers';
import bare from './bare.ts';

/**
 * The bare Worker with all that wrangler.toml binds, and with one line of log: what the local runtime starts and loads for that
 * is no cost of a deployed Worker.
 */
export default {
  fetch: (...asked: Parameters<typeof bare.fetch>) => {
    console.log('{}');
    return bare.fetch(...asked);
  },
  queue: () => undefined,
};
export class Account extends DurableObject {}
export class Batch extends DurableObject {}
export class BatchClaims extends DurableObject {}
export class ClassificationJob extends DurableObject {}
export class Conversation extends DurableObject {}
export class Inbox extends DurableObject {}
export class Pool extends DurableObject {}
