// @vitest-environment jsdom
import { expect, test, vi } from 'vitest';
import type { Attachment } from '#page/chat/composer/attachments.ts';
import {
  attachments,
  clearDraft,
  createMessageContentFromDraft,
  draftText,
  editedMessageId,
} from '#page/chat/composer/draft.ts';

// The page's client needs a browser, and a draft needs no edge.
vi.mock('#page/edge/client.ts', () => ({}));
vi.mock('#page/edge/models.ts', () => ({}));
vi.mock('#page/chat/session/conversations.ts', () => ({}));
vi.mock('#page/chat/session/options.ts', () => ({}));
vi.mock('#page/chat/session/tools.ts', () => ({}));

test('clearDraft removes the text, the attachments and the edited message', () => {
  const block = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AA' } };
  draftText.value = ' What is this? ';
  attachments.value = [{ name: 'weir.png', block } as unknown as Attachment];
  editedMessageId.value = 'msg_1';
  expect(createMessageContentFromDraft()).toEqual([block, { type: 'text', text: 'What is this?' }]);
  clearDraft();
  draftText.value = 'And now?';
  expect([createMessageContentFromDraft(), editedMessageId.value]).toEqual(['And now?', undefined]);
});
