import { development } from '#development';
import { createApp } from './app.ts';
import { demonstrationTools } from './tools/demonstration.ts';
import { createConsumer } from './webhooks/webhook-job.ts';

/** Says whether this is built for development. What only that needs is left out of a deploy. */
declare const SLUICE_SIMULATOR: boolean | undefined;

const tools = typeof SLUICE_SIMULATOR === 'undefined' || SLUICE_SIMULATOR ? demonstrationTools() : development?.tools();

export default { fetch: createApp({ ...(tools ? { tools } : {}) }).fetch, queue: createConsumer() };
export { Account } from './accounts/account.ts';
export { Batch } from './batches/batch.ts';
export { BatchClaims } from './batches/claims.ts';
export { ClassificationJob } from './classifications/classification-job.ts';
export { Conversation } from './conversations/conversation.ts';
export { Pool } from './pools/pool.ts';
export { Inbox } from './webhooks/inbox/inbox.ts';
