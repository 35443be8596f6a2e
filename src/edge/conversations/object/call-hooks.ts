/** Calls the hooks of plugins that must not keep a turn, or another plugin, from its end. */

import { logBackgroundFailure } from '../../kit/http/log.ts';
import { findDamageInError } from '../history/storage/damaged-row.ts';
import type { ConversationContext, ConversationHooks } from './hooks.ts';

/** Hooks whose errors are logged. An error in any other one rejects the turn. */
type HookWithLoggedErrors = Extract<
  keyof ConversationHooks,
  | 'headers'
  | 'getDimensions'
  | 'storeEndData'
  | 'onTurnEnded'
  | 'settleOpenWork'
  | 'alarm'
  | 'getCaller'
  | 'hasPendingWork'
  | 'stopWork'
>;

/**
 * Calls a hook of each plugin. An error is logged, and the other plugins are still called.
 *
 * @param call calls the hook named `hook`
 * @returns what the hooks that did not throw have returned, in the order of the plugins
 * @throws DamagedRow if stored rows cannot be read, which ends more than this hook
 */
export function callHookOfEachPlugin<T>(
  conversation: Pick<ConversationContext, 'transcript' | 'hooks'>,
  hook: HookWithLoggedErrors,
  call: (part: ConversationHooks) => T,
): T[] {
  return conversation.hooks.flatMap((part) => {
    try {
      return [call(part)];
    } catch (thrown) {
      logHookError(conversation, hook, thrown);
      return [];
    }
  });
}

/** Stops what one plugin has under way. An error is logged. @returns undefined if it has nothing to stop */
export function stopPluginWork(
  conversation: Pick<ConversationContext, 'transcript'>,
  part: ConversationHooks,
): Promise<void> | undefined {
  const [stopping] = callHookOfEachPlugin(
    { transcript: conversation.transcript, hooks: [part] },
    'stopWork',
    ({ stopWork }) => stopWork?.call(part),
  );
  return stopping?.catch((thrown: unknown) => logHookError(conversation, 'stopWork', thrown));
}

function logHookError(
  { transcript }: Pick<ConversationContext, 'transcript'>,
  hook: HookWithLoggedErrors,
  thrown: unknown,
): void {
  if (findDamageInError(thrown)) throw thrown;
  logBackgroundFailure({ conversation: transcript.uncheckedProfile?.id ?? '', hook }, thrown);
}
