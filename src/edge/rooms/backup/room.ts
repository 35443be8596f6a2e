import { unknownConversation } from '../../talk/answers/crossing-answer.ts';
import type { Result } from '../../talk/contracts/conversation.ts';
import type { ConversationPart, OpenConversation } from '../../talk/conversations/parts.ts';
import type { Room } from '../room.ts';
import { backupLines } from '../transfer/forks.ts';
import { transferRoom } from '../transfer/room.ts';
import { ACCOUNT_BACKUP_ROUTES } from './account-backup.route.ts';
import { accountBackupPart } from './account-backup.ts';
import { CONVERSATION_BACKUP_ROUTES } from './conversation-backup.route.ts';
import { VERSION_BACKUP_ROUTES } from './version-backup.route.ts';

/** What backups have in a conversation's object. */
const backupPart: ConversationPart = { methods: { lines: linesOf } };

/** @returns the history as the lines that another deployment can restore */
function linesOf({ context, profile }: OpenConversation): Result<ReadableStream<Uint8Array>> {
  const present = profile();
  // While its first turn runs, there is nothing to keep yet.
  const value = present?.exists && backupLines(context.transcript, present);
  return value ? { ok: true, value } : unknownConversation();
}

/** Accounts and conversations that are moved to another deployment. A conversation's backup is a copy of it. */
export const backupRoom: Room = {
  name: 'backup',
  needs: [transferRoom],
  routes: [...ACCOUNT_BACKUP_ROUTES, ...CONVERSATION_BACKUP_ROUTES, ...VERSION_BACKUP_ROUTES],
  account: accountBackupPart,
  conversation: backupPart,
};
