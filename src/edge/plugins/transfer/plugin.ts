import type { Plugin } from '../plugin.ts';
import { ACCOUNT_BACKUP_ROUTES } from './account-backup.route.ts';
import { accountBackupPart } from './account-backup.ts';
import { CONVERSATION_BACKUP_ROUTES } from './conversation-backup.route.ts';
import { transferPart } from './part.ts';
import { TRANSFER_ROUTES } from './transfer.route.ts';
import { VERSION_BACKUP_ROUTES } from './version-backup.route.ts';

/** Copies, imports, exports and backups: of conversations, accounts and versions. */
export const transfer: Plugin = {
  name: 'transfer',
  routes: [...TRANSFER_ROUTES, ...ACCOUNT_BACKUP_ROUTES, ...CONVERSATION_BACKUP_ROUTES, ...VERSION_BACKUP_ROUTES],
  account: accountBackupPart,
  conversation: [transferPart],
};
