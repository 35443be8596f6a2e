/** Tells conversations that a credential has ended, so that what runs with it ends. */

import { settingsOf } from '../../config/settings.ts';
import { conversationStub } from '../../durable/stubs.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { AccountState } from './account-state.ts';

/** How many conversations are told at the same time. (An object may have six open connections.) */
const TOLD_AT_ONCE = 5;
const TELL_AGAIN_MS = 15_000;
/** The key under which the ids of those stand that must still be told, as JSON. */
const UNTOLD = 'untold';

/**
 * Notes the conversations in which something may run with a token, so that the alarm tells them at once. A run that makes its
 * calls holds nothing meanwhile, so its last step counts, too: that one has asked for tools.
 *
 * @param jti the token; absent for all of the account
 */
export function noteEnded({ ledger, alarm }: AccountState, now: number, jti: string | null = null): void {
  const found = ledger.read<{ conversation: string }>(
    `select distinct conversation from ledger
     where conversation is not null and token = coalesce(?, token)
       and (status = 'held' or (stop_reason = 'tool_use' and at > ?))`,
    jti,
    now - DAY_MS,
  );
  if (found.length === 0) return;
  // Who is noted already may be asking at this moment, and know nothing of this end.
  ledger.setMeta(UNTOLD, JSON.stringify([...untold(ledger), ...found.map(({ conversation }) => conversation)]));
  alarm.wakeFor(now, 1);
}

/** Tells the next conversations. Each stays noted until it has answered, and whatever is told twice changes nothing. */
export async function tellEnded({ accountId, env, ledger, alarm, now, retries }: AccountState): Promise<void> {
  const ids = untold(ledger).slice(0, TOLD_AT_ONCE);
  if (accountId === undefined || ids.length === 0) return;
  const settings = settingsOf(env);
  const calls = ids.map((id) =>
    conversationStub(env, settings, { account: accountId, id })
      .checkCredential()
      .then(
        () => [],
        (thrown: unknown) => [{ id, thrown }],
      ),
  );
  const failed = (await Promise.all(calls)).flat();
  const left = [...untold(ledger).slice(ids.length), ...failed.map(({ id }) => id)];
  ledger.setMeta(UNTOLD, left.length === 0 ? undefined : JSON.stringify(left));
  if (left.length > 0) alarm.wakeFor(now() + (failed.length > 0 ? TELL_AGAIN_MS : 0), 1);
  for (const { thrown } of failed) retries.failed('credential_check', thrown, now() + TELL_AGAIN_MS);
  if (failed.length === 0) retries.succeeded('credential_check');
}

function untold(ledger: Ledger): string[] {
  return JSON.parse(ledger.meta(UNTOLD) ?? '[]') as string[];
}
