import { createApp } from './app.ts';
import { createConsumer } from './webhooks/webhook-job.ts';

export default { fetch: createApp().fetch, queue: createConsumer() };
export { Account } from './accounts/account.ts';
export { Batch } from './batches/batch.ts';
export { BatchClaims } from './batches/claims.ts';
export { ClassificationJob } from './classifications/classification-job.ts';
export { Conversation } from './conversations/conversation.ts';
export { Pool } from './pools/pool.ts';
export { Inbox } from './webhooks/inbox/inbox.ts';
