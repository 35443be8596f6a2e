import type { Remote } from '../../../durable/call-object.ts';
import { callObject } from '../../../durable/call-object.ts';
import { getInboxStub, type InboxBinding } from '../../../durable/stubs.ts';
import { withTimeout } from '../../../kit/async/timeout.ts';
import type { InboxObject } from '../contracts/inbox.ts';

const INBOX_CALL_MS = 30_000;

/**
 * Calls the inbox of a source, and again if the call did not reach it. Every method of an inbox may be repeated safely.
 *
 * @throws ApiError 503 while the object cannot be reached
 */
export async function callInbox<T>(
  place: { inboxes: InboxBinding; settings: { JURISDICTION?: string | undefined }; source: string },
  call: (inbox: Remote<InboxObject>) => Promise<T>,
): Promise<T> {
  const stub = () => getInboxStub(place.inboxes, place.settings, place.source) as unknown as Remote<InboxObject>;
  return await callObject('inbox', () => withTimeout(call(stub()), INBOX_CALL_MS));
}
