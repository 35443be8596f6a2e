import { createApp } from './app.ts';

export default { fetch: createApp().fetch };
export { Account } from './objects/account.ts';
export { Conversation } from './objects/conversation.ts';
