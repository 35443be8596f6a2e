import { createApp } from './app.ts';
import { createConsumer } from './webhooks/consume.ts';

export default { fetch: createApp().fetch, queue: createConsumer() };
export { Account } from './objects/account.ts';
export { Conversation } from './objects/conversation.ts';
export { Inbox } from './objects/inbox.ts';
