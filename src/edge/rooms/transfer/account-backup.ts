/** Makes the backup of an account, and restores it in another deployment. */

import { SPENT_UP } from '../../claude/pricing/usage-sums.ts';
import type { AccountState } from '../../money/account/account-state.ts';
import type { AccountPart } from '../../money/account/parts.ts';
import type { TokenLimits } from '../../money/budget/limits.schema.ts';
import { TokensWithLimits } from '../../money/tokens/token-limits.ts';
import type { AccountBackup } from './account-backup.schema.ts';

/** The key in `meta` of the digest of the restored backup. */
const RESTORED = 'restored';

type BackupToken = Omit<AccountBackup['tokens'][number], 'limits'> & { limits: string | null };

/** What backups have in an account: it makes its own, and takes one. */
export const accountBackupPart: AccountPart = {
  methods: {
    backupJson: (state, id) => {
      state.advance();
      return JSON.stringify(backupOf(state, id));
    },
    restoreJson: (state, backup, digest) =>
      restoreAccount(state, JSON.parse(backup) as AccountBackup, digest) !== 'used',
  },
};

/** @returns the limits, group, credit, tokens and sums of an account. */
function backupOf(state: AccountState, id: string): AccountBackup {
  const { ledger, limits } = state;
  // After the ledger is folded, the rows of tokens and days say what they have spent.
  ledger.fold(true);
  const tokens = ledger.read<Record<string, SqlStorageValue> & BackupToken>(
    `select jti, label, scopes, minted_at, first_seen_at, expires_at, revoked_at, limits, spent from tokens order by jti`,
  );
  const days = ledger.read<Record<string, SqlStorageValue> & AccountBackup['days'][number]>(
    `select day, ${SPENT_UP} from rollups group by day order by day`,
  );
  return {
    type: 'account_backup',
    id,
    limits: limits.own,
    group: state.group ?? null,
    revoked_before: Number(ledger.meta('revoked_before') ?? 0),
    credits: ledger.read<Record<string, SqlStorageValue> & AccountBackup['credits'][number]>(
      'select id, key, amount, spent, note, created_at, expires_at from credits order by created_at, id',
    ),
    tokens: tokens.map((row) => ({
      ...row,
      limits: row.limits === null ? null : (JSON.parse(row.limits) as TokenLimits),
    })),
    days,
  };
}

/**
 * Restores a backup: all of it, or nothing. What was spent keeps its day, and is marked as imported. The state is replaced then: it
 * has the memory of an empty account, and a request that is waiting for a pool must not be admitted by it.
 *
 * @param digest the digest of the backup, because the same one may come twice
 * @returns whether it was restored; `used` for an account that has spent something, was given something or was erased
 */
function restoreAccount(state: AccountState, backup: AccountBackup, digest: string): 'restored' | 'unchanged' | 'used' {
  const { ledger, limits, budget } = state;
  if (ledger.meta(RESTORED) === digest) return 'unchanged';
  const isUsed = ['ledger', 'rollups', 'credits'].some((table) => ledger.has(`${table} where true`));
  const isGiven = limits.own !== null || state.group !== undefined;
  if (isUsed || isGiven || budget.holds.size > 0 || state.erasedUntil > 0) return 'used';
  ledger.together(() => {
    limits.setOwn(backup.limits);
    state.setGroup(backup.group ?? undefined);
    // A credential that was revoked here stays revoked, even if the backup does not know it.
    const revokedBefore = Math.max(backup.revoked_before, Number(ledger.meta('revoked_before') ?? 0));
    if (revokedBefore > 0) ledger.setMeta('revoked_before', String(revokedBefore));
    const here = ledger.read<{ jti: string; revoked_at: number }>(
      'select jti, revoked_at from tokens where revoked_at is not null',
    );
    const revoked = new Map(here.map(({ jti, revoked_at }) => [jti, revoked_at]));
    ledger.insertAll('credits', backup.credits, 'insert or ignore');
    const tokens = backup.tokens.map(({ limits: own, ...token }) => {
      const revoked_at = token.revoked_at ?? revoked.get(token.jti) ?? null;
      return { ...token, revoked_at, limits: TokensWithLimits.textOf(own ?? undefined) };
    });
    ledger.insertAll('tokens', tokens, 'insert or replace');
    for (const { day, ...sums } of backup.days) ledger.rollups.addImported(day, sums);
    ledger.setMeta(RESTORED, digest);
  });
  state.isReplaced = true;
  return 'restored';
}
