import { unknownConversation } from '../../talk/answers/crossing-answer.ts';
import type { Result } from '../../talk/contracts/conversation.ts';
import type { ConversationPart, OpenConversation } from '../../talk/conversations/parts.ts';
import { backupLines } from '../transfer/forks.ts';

/** What backups have in a conversation's object. */
export const backupPart: ConversationPart = { methods: { lines: linesOf } };

/** @returns the history as the lines that another deployment can restore */
function linesOf({ context, profile }: OpenConversation): Result<ReadableStream<Uint8Array>> {
  const present = profile();
  // While its first turn runs, there is nothing to keep yet.
  const value = present?.exists && backupLines(context.transcript, present);
  return value ? { ok: true, value } : unknownConversation();
}
