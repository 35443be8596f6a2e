/** How the next question is asked. */
import { signal } from '@preact/signals';

export const thinking = signal(false);
export const tools = signal(false);
export const maxTokens = signal(4_096);
/** The prefix of the next new conversation: its name; empty for none. */
export const prefix = signal('');
