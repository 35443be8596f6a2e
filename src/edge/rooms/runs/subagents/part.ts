/** What subagents have in their conversation's object: the run that has called one hears how it ends, and stops it. */

import { getOrMake } from '../../../kit/cache/get-or-make.ts';
import { finalError } from '../../../kit/http/errors.ts';
import type { Result } from '../../../talk/object/contract.ts';
import type { ConversationContext, ConversationPart, OpenConversation } from '../../../talk/object/parts.ts';
import { type SubagentOutcome, subagentOutcomeOf } from './subagent-outcome.ts';

/** The idempotency keys of subagents that must not begin, because the run that called them has ended. */
const stoppedKeys = new WeakMap<ConversationContext, Set<string>>();

export const subagentsPart: ConversationPart = {
  open: (context) => ({
    before({ request: { parent, key = '' } }) {
      if (parent && stoppedKeys.get(context)?.has(key))
        throw finalError('conflict_error', 'The run that has called this subagent has ended.');
      return undefined;
    },
  }),
  methods: { subagentOutcome: awaitOutcome, stopSubagent },
};

/** Waits until a subagent's turn has ended. @returns its outcome; undefined if no turn was begun with this key */
async function awaitOutcome(object: OpenConversation, key: string): Promise<Result<SubagentOutcome | undefined>> {
  object.recover();
  const { runner, context } = object;
  if (runner?.turn.row.key === key) await runner.done;
  return { ok: true, value: subagentOutcomeOf(context.transcript, key) };
}

/** Stops a subagent's turn. A turn that has not begun yet will not begin. */
async function stopSubagent(
  { context, stopTurn }: OpenConversation,
  key: string,
): Promise<Result<SubagentOutcome | undefined>> {
  getOrMake(stoppedKeys, context, () => new Set()).add(key);
  await stopTurn({ key });
  return { ok: true, value: subagentOutcomeOf(context.transcript, key) };
}
