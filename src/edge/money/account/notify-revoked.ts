/** Notifies conversations that a credential was revoked, so that they stop the turns that use it. */

import { parseSettingsOnce } from '../../config/settings.ts';
import { getConversationStub } from '../../durable/stubs.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { AccountState } from './account-state.ts';

/**
 * How many conversations are notified at the same time. (An object may have six open connections:
 * https://developers.cloudflare.com/workers/platform/limits/)
 */
const CONCURRENT_NOTIFICATIONS = 5;
const NOTIFY_RETRY_MS = 15_000;
/** The key of the ids of the conversations that must still be notified, as JSON. */
const PENDING_CONVERSATIONS_KEY = 'untold';

/**
 * Records the conversations in which a turn may run with a token, so that the alarm notifies them at once. A run has no hold
 * while it executes tool calls, so its last step, which requested the tools, counts as well.
 *
 * @param jti the token; absent for all of the account, and requests without a token
 */
export function recordConversationsToStop(
  { ledger, alarm }: AccountState,
  now: number,
  jti: string | null = null,
): void {
  const found = ledger.readAllRows<{ conversation: string }>(
    `select distinct conversation from ledger
     where conversation is not null and (?1 is null or token = ?1)
       and (status = 'held' or (stop_reason = 'tool_use' and at > ?2))`,
    jti,
    now - DAY_MS,
  );
  if (found.length === 0) return;
  // Add each conversation even if it is already listed. The call that stops a listed one may be running now, before this
  // revocation, and removes only its own entry.
  ledger.writeMetaValue(
    PENDING_CONVERSATIONS_KEY,
    JSON.stringify([...listConversationsToStop(ledger), ...found.map(({ conversation }) => conversation)]),
  );
  alarm.scheduleAt(now, 1);
}

/** Notifies the next conversations. Each stays listed until it has responded. A repeated notification has no effect. */
export async function stopRevokedConversations({
  accountId,
  env,
  ledger,
  alarm,
  now,
  retries,
}: AccountState): Promise<void> {
  const ids = listConversationsToStop(ledger).slice(0, CONCURRENT_NOTIFICATIONS);
  if (accountId === undefined || ids.length === 0) return;
  const settings = parseSettingsOnce(env);
  const calls = ids.map((id) =>
    getConversationStub(env, settings, { account: accountId, id })
      .stopIfCredentialEnded()
      .then(
        () => [],
        (thrown: unknown) => [{ id, thrown }],
      ),
  );
  const failed = (await Promise.all(calls)).flat();
  const left = [...listConversationsToStop(ledger).slice(ids.length), ...failed.map(({ id }) => id)];
  ledger.writeMetaValue(PENDING_CONVERSATIONS_KEY, left.length === 0 ? undefined : JSON.stringify(left));
  if (left.length > 0) alarm.scheduleAt(now() + (failed.length > 0 ? NOTIFY_RETRY_MS : 0), 1);
  for (const { thrown } of failed) retries.recordFailure('credential_check', thrown, now() + NOTIFY_RETRY_MS);
  if (left.length === 0) retries.recordSuccess('credential_check');
}

function listConversationsToStop(ledger: Ledger): string[] {
  return JSON.parse(ledger.readMetaValue(PENDING_CONVERSATIONS_KEY) ?? '[]') as string[];
}
