import type { Room } from '../room.ts';

/** Backups of accounts and conversations. */
export const backupRoom: Room = { name: 'backup' };
