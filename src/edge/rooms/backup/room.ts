import type { Room } from '../room.ts';
import { ACCOUNT_BACKUP_ROUTES } from './account-backup.route.ts';
import { accountBackupPart } from './account-backup.ts';
import { CONVERSATION_BACKUP_ROUTES } from './conversation-backup.route.ts';

export const backupRoom: Room = {
  name: 'backup',
  routes: [...ACCOUNT_BACKUP_ROUTES, ...CONVERSATION_BACKUP_ROUTES],
  account: accountBackupPart,
};
