/** Keeps the draft of a question, and counts what it would cost. */
import type { MessageParam } from '@anthropic-ai/sdk/resources/messages';
import { computed, effect, signal } from '@preact/signals';
import type { CountAnswer, CountRequest } from '../../../client/index.ts';
import { edge, state } from '../../edge/client.ts';
import { model } from '../../edge/models.ts';
import { type Content, partsOf, textOf } from '../session/content.ts';
import { session } from '../session/conversations.ts';
import { agent, prefix, thinking } from '../session/options.ts';
import { thinkingMembers } from '../session/thinking.ts';
import { offeredTools } from '../session/tools.ts';
import { type Attachment, attachmentsIn } from './attachments.ts';

export const draftText = signal('');
export const attachments = signal<Attachment[]>([]);
/** The message that is replaced; undefined: the draft is added at the end. */
export const editing = signal<string | undefined>(undefined);
export const counted = signal<CountAnswer | undefined>(undefined);

const QUIET_MS = 400;

export const isEmpty = computed(() => draftText.value.trim() === '' && attachments.value.length === 0);

/** @returns the draft as the content of a message */
export function draftContent(): Content {
  const blocks = attachments.value.map(({ block }) => block);
  const words = draftText.value.trim();
  if (blocks.length === 0) return words;
  return words === '' ? blocks : [...blocks, { type: 'text', text: words }];
}

/** Puts what was asked into the composer. @param before the message that it will replace, if any */
export function editDraft(content: Content, before?: string): void {
  const parts = partsOf(content);
  // What comes back unsent stands before what was typed since.
  const since = before === undefined ? draftText.value : '';
  draftText.value = [textOf(parts), since].filter(Boolean).join('\n\n');
  attachments.value = attachmentsIn(parts);
  editing.value = before;
  document.getElementById('draft')?.focus();
}

/** Lets a question go that was to be asked again, where another conversation is opened: it belongs to the one before. */
export function leaveEdited(next: string | undefined): void {
  if (editing.value !== undefined && session.value?.id !== next) clearDraft();
}

export function clearDraft(): void {
  draftText.value = '';
  attachments.value = [];
  editing.value = undefined;
}

/** Counts the prompt whenever the user stops typing for a moment. */
export function keepCounting(): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let question = 0;
  const dispose = effect(() => {
    const request = countRequest();
    clearTimeout(timer);
    question += 1;
    const number = question;
    if (!request) {
      counted.value = undefined;
      return;
    }
    timer = setTimeout(() => {
      edge()
        .countTokens(request)
        .then(
          (answer) => {
            if (number === question) counted.value = answer;
          },
          // No error here: if the draft is wrong, sending it gives the reason.
          () => {
            if (number === question) counted.value = undefined;
          },
        );
    }, QUIET_MS);
  });
  return () => {
    dispose();
    clearTimeout(timer);
  };
}

/** A conversation that there is not: only in one the edge counts what an agent would be asked. */
const NOBODYS = `draft-${crypto.randomUUID()}`;

/** @returns the question to count the draft behind an agent's prompt; undefined where the history is another one */
function agentCountRequest(name: string): CountRequest | undefined {
  const current = session.value;
  // While a call waits or runs, the history ends with it, and nothing can be added to that.
  if (editing.value !== undefined || current?.waits.value || current?.busy.value) return undefined;
  return {
    ...(current ? { conversation: current.id } : { conversation: NOBODYS, agent: name }),
    messages: [{ role: 'user', content: draftContent() } as MessageParam],
  };
}

function countRequest(): CountRequest | undefined {
  const id = model.value?.id;
  if (state.value !== 'ready' || isEmpty.value || id === undefined) return undefined;
  const current = session.value;
  const answering = current ? current.report.value?.agent?.name : agent.value || undefined;
  if (answering !== undefined) return agentCountRequest(answering);
  const offered = offeredTools(false);
  const retained = current ? (current.report.value?.prefix ?? undefined) : prefix.value || undefined;
  const rows = current?.rows.value ?? [];
  const until = rows.findIndex((row) => row.id === editing.value);
  const earlier = until < 0 ? rows : rows.slice(0, until);
  // A question that was refused, and its answer, are not sent again; nor is an answer of which nothing is left.
  const isSent = ({ status }: { status: string }) => ['complete', 'stopped', 'interrupted'].includes(status);
  const sent = earlier.filter((row) => isSent(row) && row.content.length > 0);
  const messages = [...sent, { role: 'user', content: draftContent() }].map(({ role, content }) => ({ role, content }));
  const { thinking: budget } = thinkingMembers(thinking.value, model.value, 0);
  return {
    model: id,
    messages: messages as MessageParam[],
    ...(retained === undefined ? {} : { prefix: retained }),
    ...(budget && { thinking: budget }),
    ...(offered.length > 0 ? { tools: offered } : {}),
  };
}
