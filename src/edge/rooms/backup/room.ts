import type { Room } from '../room.ts';
import { transferRoom } from '../transfer/room.ts';
import { ACCOUNT_BACKUP_ROUTES } from './account-backup.route.ts';
import { accountBackupPart } from './account-backup.ts';
import { CONVERSATION_BACKUP_ROUTES } from './conversation-backup.route.ts';
import { backupPart } from './part.ts';

/** Accounts and conversations that are moved to another deployment. A conversation's backup is a copy of it. */
export const backupRoom: Room = {
  name: 'backup',
  needs: [transferRoom],
  routes: [...ACCOUNT_BACKUP_ROUTES, ...CONVERSATION_BACKUP_ROUTES],
  account: accountBackupPart,
  conversation: backupPart,
};
