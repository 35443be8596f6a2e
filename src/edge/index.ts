import { develop } from '#development';
import { createApp } from './app.ts';
import { PLUGINS } from './plugins.ts';

develop();

export default createApp({ plugins: PLUGINS });
export { Conversation } from './conversations/object/conversation.ts';
export { Account } from './money/account/account.ts';
export { Batch } from './plugins/batches/batch.ts';
export { Pool } from './plugins/pools/pool.ts';
export { Inbox } from './plugins/webhooks/inbox/inbox.ts';
