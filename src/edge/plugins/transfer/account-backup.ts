/** Makes the backup of an account, and restores it in another deployment. */

import { SPENT_TOTALS_SQL } from '../../claude/pricing/usage-sums.ts';
import type { AccountState } from '../../money/account/account-state.ts';
import type { AccountPlugin } from '../../money/account/hooks.ts';
import type { TokenLimits } from '../../money/budget/limits.schema.ts';
import type { RestoreOutcome } from '../../money/contracts/account.ts';
import { LimitedTokensTracker } from '../../money/credentials/token-limits.ts';
import type { Ledger } from '../../money/ledger/ledger.ts';
import type { AccountBackup } from './account-backup.schema.ts';

/** The key in `meta` of the digest of the restored backup. */
const RESTORED = 'restored';

type BackupToken = Omit<AccountBackup['tokens'][number], 'limits'> & { limits: string | null };

/** What backups have in an account: it makes its own, and takes one. */
export const accountBackupPart: AccountPlugin = {
  methods: {
    backupJson: (state, id) => {
      state.advanceBudgetToNow();
      return JSON.stringify(createBackup(state, id));
    },
    restoreJson: (state, backup, digest, merges) => {
      return restoreAccount(state, JSON.parse(backup) as AccountBackup, { digest, merges });
    },
  },
};

/** @returns the limits, group, credit, tokens and sums of an account. */
function createBackup(state: AccountState, id: string): AccountBackup {
  const { ledger, limits } = state;
  // Add the settled ledger rows to the sums first, so that the sums of tokens and days include all spending.
  ledger.foldSettledRowsIntoRollups(true);
  const tokens = ledger.readAllRows<Record<string, SqlStorageValue> & BackupToken>(
    `select jti, label, scopes, minted_at, first_seen_at, expires_at, revoked_at, limits, spent from tokens order by jti`,
  );
  return {
    type: 'account_backup',
    id,
    taken_at: state.now(),
    limits: limits.ownLimits,
    block: state.suspension.block,
    group: state.chosenGroup ?? null,
    revoked_before: Number(ledger.readMetaValue('revoked_before') ?? 0),
    credits: ledger.readAllRows<Record<string, SqlStorageValue> & AccountBackup['credits'][number]>(
      'select id, key, amount, spent, note, created_at, expires_at from credits order by created_at, id',
    ),
    tokens: tokens.map((row) => ({
      ...row,
      limits: row.limits === null ? null : (JSON.parse(row.limits) as TokenLimits),
    })),
    days: createDailySpendBackup(ledger),
  };
}

/** @returns the spending of each day, the first day first */
function createDailySpendBackup(ledger: Ledger): AccountBackup['days'] {
  return ledger.readAllRows<Record<string, SqlStorageValue> & AccountBackup['days'][number]>(
    `select day, ${SPENT_TOTALS_SQL} from rollups group by day order by day`,
  );
}

/**
 * Restores a backup: all of it, or nothing. Spending keeps its day, and is marked as imported. The state is replaced
 * afterwards, because it has cached an empty account, by which a waiting request must not be admitted.
 *
 * @param by the digest of the backup, because the same one may be restored twice; and whether to merge it with the account's
 *   own data: of each sum the larger one counts, so merging may be repeated
 */
function restoreAccount(
  state: AccountState,
  backup: AccountBackup,
  { digest, merges }: { digest: string; merges: boolean },
): RestoreOutcome {
  const { ledger, limits, budget, suspension } = state;
  // Reject a backup from before the account's last erasure, because it would restore erased data.
  if (backup.taken_at <= state.erasedUntil) return 'erased';
  if (ledger.readMetaValue(RESTORED) === digest && !merges) return 'unchanged';
  if (budget.holds.size > 0) return merges ? 'held' : 'used';
  const isUsed = ['ledger', 'rollups', 'credits'].some((table) => ledger.hasRows(`${table} where true`));
  const isConfigured = limits.ownLimits !== null || state.chosenGroup !== undefined || suspension.block !== null;
  if (!merges && (isUsed || isConfigured)) return 'used';
  ledger.runInTransaction(() => {
    // Add the settled ledger rows to the sums, so that the merge below compares complete sums.
    ledger.foldSettledRowsIntoRollups(true);
    // If the backup contains no limits, no block or no group, keep those of this account.
    limits.setOwnLimits(backup.limits ?? limits.ownLimits);
    suspension.setBlock(backup.block ?? suspension.block);
    state.storeChosenGroup(backup.group ?? state.chosenGroup);
    state.recordConfigurationTime(backup.taken_at);
    // Keep the later revocation time, so that a credential that was revoked here does not become valid again.
    const revokedBefore = Math.max(backup.revoked_before, Number(ledger.readMetaValue('revoked_before') ?? 0));
    if (revokedBefore > 0) ledger.writeMetaValue('revoked_before', String(revokedBefore));
    restoreCredits(ledger, backup.credits);
    restoreTokens(ledger, backup.tokens);
    restoreDailySpend(ledger, backup.days);
    ledger.writeMetaValue(RESTORED, digest);
  });
  state.isReplaced = true;
  return 'restored';
}

function restoreCredits(ledger: Ledger, credits: AccountBackup['credits']): void {
  ledger.insertRows('credits', credits, 'insert or ignore');
  for (const { id, spent } of credits) {
    ledger.runWriteStatement('update credits set spent = ? where id = ? and spent < ?', spent, id, spent);
  }
}

/** Restores tokens. A token that either side has revoked stays revoked, and of its spending the larger sum counts. */
function restoreTokens(ledger: Ledger, tokens: AccountBackup['tokens']): void {
  const here = ledger.readAllRows<{ jti: string; revoked_at: number | null; spent: number }>(
    'select jti, revoked_at, spent from tokens',
  );
  const known = new Map(here.map((token) => [token.jti, token]));
  const rows = tokens.map(({ limits, ...token }) => {
    const own = known.get(token.jti);
    const revoked_at = token.revoked_at ?? own?.revoked_at ?? null;
    const spent = Math.max(token.spent, own?.spent ?? 0);
    return { ...token, revoked_at, spent, limits: LimitedTokensTracker.serializeTokenLimits(limits ?? undefined) };
  });
  ledger.insertRows('tokens', rows, 'insert or replace');
}

/** Adds to each day by how much the backup's spending exceeds the account's own. */
function restoreDailySpend(ledger: Ledger, days: AccountBackup['days']): void {
  const here = new Map(createDailySpendBackup(ledger).map((sums) => [sums.day, sums]));
  for (const { day, ...sums } of days) {
    const own = here.get(day);
    const more = own ? mapObjectValues(sums, (sum, column) => Math.max(0, sum - own[column])) : sums;
    if (Object.values(more).some((sum) => sum !== 0)) ledger.rollups.addImportedUsage(day, more);
  }
}

function mapObjectValues<T extends Record<string, number>>(
  values: T,
  change: (value: number, key: keyof T & string) => number,
): T {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, change(value, key)])) as T;
}
