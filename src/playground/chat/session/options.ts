/** Keeps the options of the next question. */
import { signal } from '@preact/signals';

export const thinking = signal(false);
export const tools = signal(false);
/** Whether the edge calls its own tools. */
export const edgeTools = signal(false);
export const maxTokens = signal(4_096);
/** The name of the prefix for the next new conversation; empty for none. */
export const prefix = signal('');
