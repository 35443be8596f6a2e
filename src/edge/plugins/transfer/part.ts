/** What transfer has in a conversation's object: it copies the history, takes one up, and writes it for others. */

import type { RestrictedCaller } from '../../auth/identity/caller.ts';
import type { ConversationKey, Result, RpcText } from '../../conversations/object/contract.ts';
import type { View } from '../../conversations/object/conversations.schema.ts';
import type { ConversationContext, ConversationPlugin } from '../../conversations/object/hooks.ts';
import {
  conflict,
  failedRpcResult,
  idTaken,
  noMessage,
  unknownConversation,
} from '../../conversations/object/rpc-response.ts';
import { getConversationStub } from '../../durable/stubs.ts';
import { exportLines } from './export-lines.ts';
import { backupLines, copyLines, storeCopy } from './forks.ts';
import { prepareImport, storeImported } from './imported-turns.ts';

export const transferPart: ConversationPlugin = {
  *imports(list) {
    const { left, turns } = yield* prepareImport(list);
    return { omitted: left, store: (transcript, of) => storeImported(transcript, turns, of) };
  },
  methods: { fork: forkTo, adopt: adoptFrom, export: exportAll, lines: backUpLines },
};

/** Copies the history, up to the turn that `at` belongs to, into another conversation of the same account. */
async function forkTo(
  object: ConversationContext,
  to: string,
  at: string | undefined,
  by?: RestrictedCaller,
): Promise<Result<RpcText>> {
  const may = object.profileFor(by);
  if (!may.ok) return may;
  const { transcript, env, settings, runner } = object;
  const { exists, id, account } = may.value;
  // Its first turn is running: there is nothing to copy yet.
  if (!exists && runner) return failedRpcResult(conflict(id, runner.turn.row.id));
  const texts = copyLines(transcript, may.value, at);
  if (!texts) return noMessage(at);
  const place = { account, id: to };
  return await (getConversationStub(env, settings(), place).adopt(place, texts) as Promise<Result<RpcText>>);
}

/** Begins this conversation with the history of another one. Stores all of it or nothing. */
async function adoptFrom(
  object: ConversationContext,
  place: ConversationKey,
  lines: ReadableStream<Uint8Array>,
): Promise<Result<RpcText>> {
  return object.isFree ? await object.waitUntilStored(storeCopy(object, place, lines)) : idTaken(place.id);
}

/** @returns the whole conversation as lines of JSON */
function exportAll({ transcript, profile }: ConversationContext, view?: View): Result<ReadableStream<Uint8Array>> {
  const present = profile();
  return present ? { ok: true, value: exportLines(present, transcript, view) } : unknownConversation();
}

/** @returns the history as the lines that another deployment can restore */
function backUpLines({ transcript, profile }: ConversationContext): Result<ReadableStream<Uint8Array>> {
  const present = profile();
  // While its first turn runs, there is nothing to keep yet.
  const value = present?.exists && backupLines(transcript, present);
  return value ? { ok: true, value } : unknownConversation();
}
