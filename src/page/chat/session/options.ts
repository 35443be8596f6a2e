/** Keeps the options of the next question. */

import { computed, signal } from '@preact/signals';
import { createTokenSignal } from '../../edge/credential.ts';
import { identity, listRestrictedNames } from '../../edge/identity.ts';
import type { ThinkingMode } from './thinking.ts';

const DEFAULT_MAX_TOKENS = 4_096;

export const thinkingChoice = signal<ThinkingMode>('model');
export const hasPageTools = signal(false);
/** Whether the edge calls its own tools. */
export const hasEdgeTools = signal(false);
export const maxTokens = signal(DEFAULT_MAX_TOKENS);
/** The name of the prefix for the next new conversation; empty for none. */
export const chosenPrefix = createTokenSignal('');

/** The name of the agent that answers in the next new conversation; empty for none. A restricted token begins with its first. */
export const chosenAgent = signal('');
identity.subscribe(() => {
  chosenAgent.value = listRestrictedNames('agents')[0] ?? '';
});

/** How many options differ from how they begin. */
export const changedOptionCount = computed(
  () =>
    [
      thinkingChoice.value !== 'model',
      hasPageTools.value,
      hasEdgeTools.value,
      maxTokens.value !== DEFAULT_MAX_TOKENS,
      chosenPrefix.value !== '',
    ].filter(Boolean).length,
);
