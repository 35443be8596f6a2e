/** Keeps the options of the next question. */
import { computed, signal } from '@preact/signals';
import type { ThinkingChoice } from './thinking.ts';

const USUAL_MAX_TOKENS = 4_096;

export const thinking = signal<ThinkingChoice>('model');
export const tools = signal(false);
/** Whether the edge calls its own tools. */
export const edgeTools = signal(false);
export const maxTokens = signal(USUAL_MAX_TOKENS);
/** The name of the prefix for the next new conversation; empty for none. */
export const prefix = signal('');

/** The name of the agent that answers in the next new conversation; empty for none. */
export const agent = signal('');

/** How many options differ from how they begin. */
export const changedOptions = computed(
  () =>
    [
      thinking.value !== 'model',
      tools.value,
      edgeTools.value,
      maxTokens.value !== USUAL_MAX_TOKENS,
      prefix.value !== '',
    ].filter(Boolean).length,
);
