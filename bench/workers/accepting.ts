/** The Worker as it is, but that nothing works on what it has accepted: its cost is that of accepting alone. */
import { createApp } from '../../src/app.ts';

export default { fetch: createApp().fetch, queue: () => undefined };
export { Account } from '../../src/accounts/account.ts';
export { Conversation } from '../../src/conversations/conversation.ts';
export { Inbox } from '../../src/webhooks/inbox/inbox.ts';
