import type Anthropic from '@anthropic-ai/sdk';
import { clientOf, model, simulated } from './api.ts';

export type Beta = Anthropic.Beta.Messages.BetaMessageParam;
export type Content = Exclude<Beta['content'], undefined>;
export type Params = Omit<Partial<Anthropic.Beta.Messages.MessageCreateParamsNonStreaming>, 'messages'>;
export type Answer = Anthropic.Beta.Messages.BetaMessage;
export type Summary = Anthropic.Beta.Messages.BetaCompactionBlock;

export const BETAS = [
  'compact-2026-09-04',
  'mid-conversation-tool-changes-2026-07-01',
  'thinking-binding-controls-2026-08-01',
  'context-management-2025-06-27',
  'task-budgets-2026-03-13',
  'inline-tools-2026-09-15',
];

export const user = (content: Content): Beta => ({ role: 'user', content });
export const assistant = (content: Content): Beta => ({ role: 'assistant', content });

/** The official SDK before a simulator, as a conversation that compacts uses it. */
export function compactor(options: Parameters<typeof simulated>[0] = {}, headers: Record<string, string> = {}) {
  const client = clientOf(simulated({ faults: true, ...options }), headers);
  const ask = (messages: Beta[], more: Params = {}): Promise<Answer> =>
    client.beta.messages.create({ model, max_tokens: 4096, betas: BETAS, messages, ...more });
  const compact = (messages: Beta[], more: Params = {}): Promise<Answer> =>
    ask(messages, { compaction: { type: 'summarize' }, ...more });
  return { client, ask, compact };
}

/** The one block of a compaction's answer; a test fails here if there is another, or none. */
export function summaryOf({ content, stop_reason }: Answer): Summary & { content: string } {
  const [block] = content;
  if (content.length !== 1 || block?.type !== 'compaction' || stop_reason !== 'compaction' || !block.content) {
    throw new Error(`not one summary: ${stop_reason} ${JSON.stringify(content)}`);
  }
  return { ...block, content: block.content };
}
