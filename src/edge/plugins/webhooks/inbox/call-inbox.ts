import { callObjectWithRetry, type RemoteMethods, toRemoteMethods } from '../../../durable/call-object.ts';
import { getInboxStub, type InboxBinding } from '../../../durable/stubs.ts';
import { waitWithTimeout } from '../../../kit/async/timeout.ts';
import type { InboxObject } from '../contracts/inbox.ts';

const INBOX_CALL_MS = 30_000;

/**
 * Calls the inbox of a source, and again if the call did not reach it. Every method of an inbox may be repeated safely.
 *
 * @throws ApiError 503 while the object cannot be reached
 */
export async function callInbox<T>(
  place: { inboxes: InboxBinding; settings: { JURISDICTION?: string | undefined }; source: string },
  call: (inbox: RemoteMethods<InboxObject>) => Promise<T>,
): Promise<T> {
  const getStub = () => toRemoteMethods<InboxObject>(getInboxStub(place.inboxes, place.settings, place.source));
  return await callObjectWithRetry('inbox', () => waitWithTimeout(call(getStub()), INBOX_CALL_MS));
}
