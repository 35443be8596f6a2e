// @vitest-environment jsdom
import { h } from 'preact';
import { beforeEach, expect, test } from 'vitest';
import { Composer } from '#page/chat/composer/composer.tsx';
import { clearDraft } from '#page/chat/composer/draft.ts';
import { session } from '#page/chat/session/conversations.ts';
import { Session } from '#page/chat/session/session.ts';
import { fill, getElementByName, installFakeEdge, press, renderForTest } from '#test/support/dom.ts';

const MESSAGE = { type: 'message', id: 'msg_1', role: 'assistant', model: 'm', content: [], stop_reason: null };
const event = (type: string, data: object) => `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
const BEGIN = [
  event('message_start', { message: { ...MESSAGE, usage: { input_tokens: 1, output_tokens: 1 } } }),
  event('content_block_start', { index: 0, content_block: { type: 'text', text: '' } }),
  event('content_block_delta', { index: 0, delta: { type: 'text_delta', text: 'A weir' } }),
].join('');
const END = [
  event('content_block_stop', { index: 0 }),
  event('message_delta', { delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 2 } }),
  event('message_stop', {}),
].join('');

/** An edge whose answer goes on until it is stopped. */
function answering() {
  let more!: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => {
      more = controller;
    },
  });
  const say = (text: string) => more.enqueue(new TextEncoder().encode(text));
  const asked = installFakeEdge(({ method, path }) => {
    if (path === '/messages') {
      say(BEGIN);
      return new Response(body, { headers: { 'content-type': 'text/event-stream', 'sluice-turn': 'turn_1' } });
    }
    if (path.startsWith('/conversations/c1/stop')) {
      say(END);
      more.close();
    }
    if (/^.(accounts|pools)./.test(path)) return { day: { settled_usd: 0, held_usd: 0, spent_usd: 0 } };
    return method === 'POST' ? {} : { id: 'c1', state: 'idle', data: [], has_more: false };
  });
  return { asked, posts: () => asked.filter(({ method }) => method === 'POST').map(({ path }) => path) };
}

async function composer() {
  session.value = new Session('c1', () => Promise.resolve());
  await session.value.loadAndFollow();
  const root = renderForTest(h(Composer, {}));
  return { root, draft: getElementByName<HTMLTextAreaElement>(root, 'Message') };
}

const isDisabled = (root: HTMLElement) => getElementByName<HTMLButtonElement>(root, 'Send').disabled;

beforeEach(() => {
  clearDraft();
  session.value = undefined;
});

test('Enter sends the question, and Stop stops the generation of its response', async () => {
  const { asked, posts } = answering();
  const { root, draft } = await composer();
  expect(isDisabled(root)).toBe(true);
  fill(draft, ' What is a weir? ');
  await expect.poll(() => isDisabled(root)).toBe(false);
  press(draft, 'Enter', { shiftKey: true });
  // An input method uses Enter to end a word. Safari reports this key press after the composition, with the key code 229.
  press(draft, 'Enter', { isComposing: true });
  press(draft, 'Enter', { keyCode: 229 });
  expect([posts(), draft.value]).toEqual([[], ' What is a weir? ']);
  expect(root.textContent).not.toContain('Escape to stop');
  press(draft, 'Enter');
  await expect.poll(() => root.querySelector('[aria-label=Stop]')).not.toBeNull();
  expect(draft.value).toBe('');
  expect(root.textContent).toContain('Escape to stop');
  const question = { role: 'user', content: 'What is a weir?' };
  expect(asked.find(({ path }) => path === '/messages')?.body).toMatchObject({
    conversation: 'c1',
    messages: [question],
  });
  await expect.poll(() => session.value?.liveAnswer.value?.stream.message?.content.length).toBe(1);
  getElementByName(root, 'Stop').click();
  await expect.poll(() => posts()[1]).toMatch(/^\/conversations\/c1\/stop\?key=/);
  await expect.poll(() => root.querySelector('[aria-label=Send]')).not.toBeNull();
  expect(session.value?.failure.value).toBeUndefined();
});

test('while a call waits for a decision, the composer explains why it sends nothing, and keeps the draft', async () => {
  const { posts } = answering();
  const { root, draft } = await composer();
  if (session.value) session.value.rows.value = [{ role: 'assistant', paused: 'approval', content: [] } as never];
  fill(draft, 'And a cake?');
  await expect
    .poll(() => root.textContent)
    .toContain('Decide on the call above first. The response waits for your decision.');
  press(draft, 'Enter');
  expect([isDisabled(root), draft.value, posts()]).toEqual([true, 'And a cake?', []]);
});
