/** Keeps the draft of a question, and counts what it would cost. */

import type { MessageParam } from '@anthropic-ai/sdk/resources/messages';
import { computed, effect } from '@preact/signals';
import type { CountRequest, TokenCountResponse } from '../../../client/index.ts';
import { getClient } from '../../edge/client.ts';
import { connectionState, createTokenSignal } from '../../edge/credential.ts';
import { createAccountSignal } from '../../edge/identity.ts';
import { currentModel } from '../../edge/models.ts';
import { joinTextParts, type MessageContent, toContentParts } from '../session/content.ts';
import { session } from '../session/conversations.ts';
import { chosenAgent, chosenPrefix, maxTokens, thinkingChoice } from '../session/options.ts';
import { createThinkingRequestFields } from '../session/thinking.ts';
import { listToolsForNextQuestion } from '../session/tools.ts';
import { type Attachment, createAttachmentsFromBlocks } from './attachments.ts';

export const draftText = createAccountSignal('');
export const attachments = createAccountSignal<Attachment[]>([]);
/** The message that is replaced; undefined: the draft is added at the end. */
export const editedMessageId = createAccountSignal<string | undefined>(undefined);
export const draftTokenCount = createTokenSignal<TokenCountResponse | undefined>(undefined);

const TYPING_PAUSE_MS = 400;
/** Prices are those of a million tokens. */
const TOKENS_PER_PRICE = 1_000_000;

export const isDraftEmpty = computed(() => draftText.value.trim() === '' && attachments.value.length === 0);

/** @returns the draft as the content of a message */
export function createMessageContentFromDraft(): MessageContent {
  const blocks = attachments.value.map(({ block }) => block);
  const words = draftText.value.trim();
  if (blocks.length === 0) return words;
  return words === '' ? blocks : [...blocks, { type: 'text', text: words }];
}

/** Loads a question into the composer. @param before the message that the question will replace, if any */
export function loadMessageIntoDraft(content: MessageContent, before?: string): void {
  const parts = toContentParts(content);
  // Without `before`, this question could not be sent. Insert it before the text that was typed meanwhile.
  const since = before === undefined ? draftText.value : '';
  draftText.value = [joinTextParts(parts), since].filter(Boolean).join('\n\n');
  attachments.value = createAttachmentsFromBlocks(parts);
  editedMessageId.value = before;
  document.getElementById('draft')?.focus();
}

/** Discards the edit of a question when another conversation is opened, because it belongs to the one before. */
export function discardEditOfOtherConversation(next: string | undefined): void {
  if (editedMessageId.value !== undefined && session.value?.id !== next) clearDraft();
}

export function clearDraft(): void {
  draftText.value = '';
  attachments.value = [];
  editedMessageId.value = undefined;
}

/** Counts the prompt whenever the user stops typing for a moment. */
export function countDraftTokensWhileTyping(): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let question = 0;
  const dispose = effect(() => {
    const request = createDraftCountRequest();
    clearTimeout(timer);
    question += 1;
    const number = question;
    if (!request) {
      draftTokenCount.value = undefined;
      return;
    }
    timer = setTimeout(() => {
      getClient()
        .countTokens(request)
        .then(
          (answer) => {
            if (number === question) draftTokenCount.value = answer;
          },
          // Do not show an error of counting: sending the draft reports the same reason.
          () => {
            if (number === question) draftTokenCount.value = undefined;
          },
        );
    }, TYPING_PAUSE_MS);
  });
  return () => {
    dispose();
    clearTimeout(timer);
  };
}

const answeringAgent = computed(() =>
  session.value ? session.value.report.value?.agent?.name : chosenAgent.value || undefined,
);

/** The maximum cost of the output of the next request; undefined for an agent, which has limits of its own, or without a price. */
export const maximumAnswerUsd = computed(() => {
  const price = currentModel.value?.prices?.output;
  if (answeringAgent.value !== undefined || price === undefined) return undefined;
  const { max_tokens } = createThinkingRequestFields(thinkingChoice.value, currentModel.value, maxTokens.value);
  return (max_tokens * price) / TOKENS_PER_PRICE;
});

/** A conversation that there is not: only in one the edge counts what an agent would be asked. */
const UNUSED_CONVERSATION_ID = `draft-${crypto.randomUUID()}`;

/** @returns the question to count the draft behind an agent's prompt; undefined where the history is another one */
function createDraftCountRequestForAgent(name: string): CountRequest | undefined {
  const current = session.value;
  // While a call waits or runs, the history ends with that call, and no message can follow it.
  if (editedMessageId.value !== undefined || current?.isWaitingForApproval.value || current?.isBusy.value)
    return undefined;
  return {
    ...(current ? { conversation: current.id } : { conversation: UNUSED_CONVERSATION_ID, agent: name }),
    messages: [{ role: 'user', content: createMessageContentFromDraft() } as MessageParam],
  };
}

function createDraftCountRequest(): CountRequest | undefined {
  const id = currentModel.value?.id;
  if (connectionState.value !== 'ready' || isDraftEmpty.value || id === undefined) return undefined;
  const current = session.value;
  if (answeringAgent.value !== undefined) return createDraftCountRequestForAgent(answeringAgent.value);
  const offered = listToolsForNextQuestion(false);
  const retained = current ? (current.report.value?.prefix ?? undefined) : chosenPrefix.value || undefined;
  const rows = current?.rows.value ?? [];
  const until = rows.findIndex((row) => row.id === editedMessageId.value);
  const earlier = until < 0 ? rows : rows.slice(0, until);
  // Rejected questions with their answers, and answers without content, are not sent again.
  const isSentWithNextRequest = ({ status }: { status: string }) =>
    ['complete', 'stopped', 'interrupted'].includes(status);
  const sent = earlier.filter((row) => isSentWithNextRequest(row) && row.content.length > 0);
  const messages = [...sent, { role: 'user', content: createMessageContentFromDraft() }].map(({ role, content }) => ({
    role,
    content,
  }));
  const { thinking: budget } = createThinkingRequestFields(thinkingChoice.value, currentModel.value, 0);
  return {
    model: id,
    messages: messages as MessageParam[],
    ...(retained === undefined ? {} : { prefix: retained }),
    ...(budget && { thinking: budget }),
    ...(offered.length > 0 ? { tools: offered } : {}),
  };
}
