import type { Room } from '../room.ts';
import { accountBackupRoutes } from './account-backup.route.ts';
import { conversationBackupRoutes } from './conversation-backup.route.ts';

/** Backups of accounts and conversations. */
export const backupRoom: Room = { name: 'backup', routes: () => [accountBackupRoutes(), conversationBackupRoutes()] };
