/** What transfer has in a conversation's object: it copies the history, takes one up, and writes it for others. */

import type { RestrictedCaller } from '../../auth/identity/caller.ts';
import type { ConversationKey, RpcResult, RpcText } from '../../conversations/object/contract.ts';
import type { HistoryViewName } from '../../conversations/object/conversations.schema.ts';
import type { ConversationContext, ConversationPlugin } from '../../conversations/object/hooks.ts';
import {
  createConversationNotFoundResult,
  createIdTakenResult,
  createMessageNotFoundResult,
  createTurnRunningError,
  toFailedResult,
} from '../../conversations/object/rpc-response.ts';
import { getConversationStub } from '../../durable/stubs.ts';
import { createExportStream } from './export-lines.ts';
import { createBackupStream, createCopyStream, storeConversationCopy } from './forks.ts';
import { parseImportedTurns, storeImportedTurns } from './imported-turns.ts';

export const transferPart: ConversationPlugin = {
  *imports(list) {
    const { left, turns } = yield* parseImportedTurns(list);
    return { omitted: left, storeInConversation: (transcript, of) => storeImportedTurns(transcript, turns, of) };
  },
  methods: {
    fork: forkConversation,
    adopt: adoptConversationCopy,
    export: exportConversation,
    lines: backUpConversation,
  },
};

/** Copies the history, up to the turn that `at` belongs to, into another conversation of the same account. */
async function forkConversation(
  object: ConversationContext,
  to: string,
  at: string | undefined,
  by?: RestrictedCaller,
): Promise<RpcResult<RpcText>> {
  const may = object.findProfileForCaller(by);
  if (!may.ok) return may;
  const { transcript, env, settings, lock } = object;
  const { exists, id, account } = may.value;
  // While the first turn is running, nothing is stored that could be copied.
  if (!exists && lock.holder) return toFailedResult(createTurnRunningError(id, lock.holder.turn.row.id));
  const texts = createCopyStream(transcript, may.value, at);
  if (!texts) return createMessageNotFoundResult(at);
  const conversationKey = { account, id: to };
  return await (getConversationStub(env, settings(), conversationKey).storeCopiedHistory(
    conversationKey,
    texts,
  ) as Promise<RpcResult<RpcText>>);
}

/**
 * Begins this conversation with the history of another one. Stores all of it or nothing.
 *
 * @param erasedUntil set for a backup, whose lines are checked: what began up to then was erased with its account
 */
async function adoptConversationCopy(
  object: ConversationContext,
  conversationKey: ConversationKey,
  lines: ReadableStream<Uint8Array>,
  erasedUntil?: number,
): Promise<RpcResult<RpcText>> {
  if (!object.isConversationIdFree) return createIdTakenResult(conversationKey.id);
  const maxCharacters = object.settings().MAX_BODY_BYTES;
  const backup = erasedUntil === undefined ? undefined : { erasedUntil, maxCharacters };
  return await object.waitUntilHistoryStored(storeConversationCopy(object, conversationKey, lines, backup));
}

/** @returns the whole conversation as lines of JSON */
function exportConversation(
  { transcript, visibleProfile }: ConversationContext,
  view?: HistoryViewName,
): RpcResult<ReadableStream<Uint8Array>> {
  return visibleProfile
    ? { ok: true, value: createExportStream(visibleProfile, transcript, view) }
    : createConversationNotFoundResult();
}

/** @returns the history as the lines that another deployment can restore */
function backUpConversation({
  transcript,
  visibleProfile,
}: ConversationContext): RpcResult<ReadableStream<Uint8Array>> {
  // Before the end of the first turn, there is nothing to back up.
  const value = visibleProfile?.exists && createBackupStream(transcript, visibleProfile);
  return value ? { ok: true, value } : createConversationNotFoundResult();
}
