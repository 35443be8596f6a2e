/** Subagents in their conversation's object: methods with which the calling run reads how a subagent ends, and stops it. */

import type { RpcResult } from '../../../conversations/object/contract.ts';
import type { ConversationContext, ConversationPlugin } from '../../../conversations/object/hooks.ts';
import { getOrCreate } from '../../../kit/cache/get-or-create.ts';
import { createNonRetryableError } from '../../../kit/http/errors.ts';
import { readSubagentOutcome, type SubagentOutcome } from './subagent-outcome.ts';

/** The idempotency keys of subagents that must not begin, because the run that called them has ended. */
const stoppedKeys = new WeakMap<ConversationContext, Set<string>>();

export const subagentsPart: ConversationPlugin = {
  createHooks: (conversation) => ({
    findPrerequisite({
      request: {
        parent,
        call: { key = '' },
      },
    }) {
      if (parent && stoppedKeys.get(conversation)?.has(key))
        throw createNonRetryableError('conflict_error', 'The run that called this subagent has ended.');
      return undefined;
    },
  }),
  methods: { subagentOutcome: waitForSubagentOutcome, stopSubagent: stopSubagentTurn },
};

/** Waits until a subagent's turn has ended. @returns its outcome; undefined if no turn was begun with this key */
async function waitForSubagentOutcome(
  conversation: ConversationContext,
  key: string,
): Promise<RpcResult<SubagentOutcome | undefined>> {
  conversation.recoverFromCrash();
  const { transcript } = conversation;
  const { holder } = conversation.lock;
  if (holder?.turn.row.key === key) await holder.done;
  return { ok: true, value: readSubagentOutcome(transcript, key) };
}

/** Stops a subagent's turn. A turn that has not begun yet will not begin. */
async function stopSubagentTurn(
  conversation: ConversationContext,
  key: string,
): Promise<RpcResult<SubagentOutcome | undefined>> {
  getOrCreate(stoppedKeys, conversation, () => new Set()).add(key);
  await conversation.stopTurn({ key });
  return { ok: true, value: readSubagentOutcome(conversation.transcript, key) };
}
