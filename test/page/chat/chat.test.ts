// @vitest-environment jsdom
import '#test/support/without-layout.ts';
import { File as NodeFile } from 'node:buffer';
import { h } from 'preact';
import { beforeEach, expect, test, vi } from 'vitest';
import { App } from '#page/app.tsx';
import { clearDraft } from '#page/chat/composer/draft.ts';
import { session } from '#page/chat/session/conversations.ts';
import { checkConnection } from '#page/edge/client.ts';
import {
  chooseValue,
  click,
  createErrorResponse,
  fill,
  getElementByName,
  installFakeEdge,
  navigateTo,
  type PageRequest,
  press,
  renderForTest,
  waitForText,
} from '#test/support/dom.ts';
import { messageStart as begin, contentBlock, messageEnd, sseResponse, textBlock } from '#test/support/wire.ts';

const MODELS = ['Haiku', 'Opus'].map((name) => ({
  id: `claude-${name.toLowerCase()}-5`,
  display_name: `Claude ${name} 5`,
  retires_at: null,
  max_tokens: 2_000,
  prices: { input: name.length, output: 5, batch: { input: name.length / 2, output: 2.5 } },
}));
type Row = { id: string; role: string; content: unknown } & Record<string, unknown>;

/** An answer whose call waits for a decision. */
const CALL: Row = {
  id: 'a0',
  role: 'assistant',
  status: 'complete',
  stop_reason: 'pause_turn',
  paused: 'approval',
  turn: 't',
  content: [{ type: 'tool_use', id: 'toolu_1', name: 'order_bread', input: { loaves: 1 } }],
};

/** The conversations at the edge, with their messages. */
let talks: Map<string, Row[]>;
/** What the edge says instead of answering the next questions. */
let instead: Response[];
/** Whether the next answers have used all their tokens before they say anything. */
let isShort: boolean;
let isOnline: boolean;
/** What the edge says of its own key, if that is refused. */
let keyRefused: Response | undefined;
/** The edge says nothing of a conversation until this is so. */
let isTold: Promise<void> | undefined;
let asked: PageRequest[];
let root: HTMLElement;

const list = (data: object[]) => ({ data, has_more: false, first_id: null, last_id: null });
const reportOf = (id: string) => ({
  id,
  title: id,
  state: 'idle',
  updated_at: '2026-11-20T10:00:00Z',
  turns: 1,
  cost_usd: 0,
});

async function answer({ method, path, body }: PageRequest): Promise<unknown> {
  const [, resource = '', id = '', what = ''] = path.split(/[/?]/);
  if (!isOnline) throw new TypeError('The network is gone.');
  if (resource === 'health') return { upstream: keyRefused ? 'anthropic' : 'simulator', plugins: ['transfer'] };
  if (resource === 'models') return keyRefused ?? list(MODELS);
  if (resource === 'messages' && id === '') {
    const said = instead.shift();
    if (said) return said;
    const { conversation, messages, model } = body as { conversation: string; messages: Row[]; model: string };
    const rows = talks.get(conversation);
    const turn = `turn_${rows?.length}`;
    const row = { status: 'complete', stop_reason: 'end_turn', turn, usage: null };
    const content = [{ type: 'text', text: `Answer ${rows?.length}` }];
    rows?.push({ ...row, id: `q${rows.length}`, role: 'user', content: messages[0]?.content, model: null });
    if (isShort) {
      const thought =
        contentBlock({ type: 'thinking', thinking: '' }) + messageEnd({ output_tokens: 300 }, 'max_tokens');
      return sseResponse(`${begin({ model }) + thought}: sluice-cost-usd=0.1\n`, { 'sluice-turn': turn });
    }
    rows?.push({ ...row, id: `a${rows.length}`, role: 'assistant', content, model });
    return sseResponse(`${begin({ model }) + textBlock(['Answer']) + messageEnd()}: sluice-cost-usd=0.1\n`, {
      'sluice-turn': turn,
    });
  }
  if (resource === 'prefixes' && method === 'GET')
    return list([{ name: 'handbook', version: 'handbook@1', description: 'Of somebody else' }]);
  if (resource === 'accounts' || resource === 'pools') return { day: { settled_usd: 0, held_usd: 0, spent_usd: 0 } };
  if (resource !== 'conversations') return list([]);
  if (id === '' || path.startsWith('/conversations?')) {
    if (method === 'GET') return list([...talks.keys()].map(reportOf));
    talks.set('new', (body as { messages?: Row[] }).messages ?? []);
    return reportOf('new');
  }
  await isTold;
  const rows = talks.get(decodeURIComponent(id));
  if (!rows)
    return createErrorResponse(
      404,
      'not_found_error',
      'This conversation does not exist. Check its id and the account.',
    );
  if (what === 'messages') return list(rows);
  if (what === 'approvals' && method === 'POST') {
    Object.assign(rows.at(-1) ?? {}, { paused: null });
    return { type: 'turn' };
  }
  if (what === 'turns') {
    const usage = { output_tokens: 300 };
    return {
      id: path.split('/').at(-1),
      cost_usd: 0.0015,
      steps: [{ model: MODELS[1]?.id, stop_reason: 'max_tokens', usage }],
    };
  }
  if (what === 'fork') {
    const { id: copy } = body as { id: string };
    talks.set(copy, rows);
    return reportOf(copy);
  }
  if (what === 'rewind') {
    const { before } = body as { before: string };
    talks.set(
      decodeURIComponent(id),
      rows.slice(
        0,
        rows.findIndex((row) => row.id === before),
      ),
    );
    return reportOf(id);
  }
  const told = { input: { loaves: 1 }, input_text: '{"loaves":1,"order":2512292042121000001}' };
  const waits = { id: 'apr_1', name: 'order_bread', ...told, approvers: 'owner', decision: null };
  return what === 'approvals' ? list([waits]) : reportOf(id);
}

const field = () => getElementByName<HTMLTextAreaElement>(root, 'Message');
const send = () => getElementByName<HTMLButtonElement>(root, 'Send');
const articles = (name = '') =>
  [...root.querySelectorAll(`article${name && `[aria-label=${name}]`}`)].map(({ textContent }) => textContent);
const posts = () => asked.filter(({ method, path }) => method === 'POST' && path === '/messages');
const alert = () => root.querySelector<HTMLElement>('.transcript [role=alert]') as HTMLElement;

/** Opens the page at a place. */
async function open(hash = '#/chat') {
  asked = installFakeEdge(answer);
  await checkConnection();
  navigateTo(hash);
  root = renderForTest(h(App, {}));
  await expect.poll(() => root.querySelector('#draft, h1, [role=alert]')).not.toBeNull();
}

async function ask(question: string) {
  fill(field(), question);
  await expect.poll(() => send().disabled).toBe(false);
  press(field(), 'Enter');
}

beforeEach(() => {
  talks = new Map([['one', []]]);
  instead = [];
  isShort = false;
  isOnline = true;
  isTold = undefined;
  keyRefused = undefined;
  session.value?.stopListening();
  session.value = undefined;
  clearDraft();
  sessionStorage.clear();
});

test('an unknown path or conversation shows an error and a link to the start', async () => {
  await open('#/chat/none');
  for (const [hash, title] of [
    ['#/no-such-part', 'This page does not exist'],
    ['#/chat/one/two', 'This page does not exist'],
    ['#/budget/no-such-view', 'This page does not exist'],
    ['#/budget/webhooks', 'This page does not exist'],
    ['#/chat/no-such-conversation', 'This conversation does not exist'],
  ] as const) {
    navigateTo(hash);
    await waitForText(root, title);
    expect(root.querySelector('#draft')).toBeNull();
    await click(root, 'Back to the start');
    await waitForText(root, 'Your own gateway to Claude.');
  }
});

test('a rejected question can be edited, and can be retried only if the error is temporary', async () => {
  await open('#/chat/one');
  instead = [createErrorResponse(400, 'invalid_request_error', 'Refused, until 2030-01-01T00:00:00Z.')];
  await ask('What is a weir?');
  await waitForText(root, 'The request is not valid. Change it, then try again.');
  expect(alert().textContent).toContain('invalid_request_error');
  expect(alert().textContent).toContain('Refused, until 1 January');
  expect(articles('You')).toEqual([expect.stringContaining('Not answered')]);
  expect(alert().textContent).not.toContain('Try again');
  await click(alert(), 'Edit');
  await expect.poll(() => field().value).toBe('What is a weir?');
  await expect.poll(articles).toEqual([]);

  const busy = createErrorResponse(429, 'rate_limit_error', 'Wait.');
  busy.headers.set('retry-after', '1');
  instead = [busy];
  await ask('What is a weir?');
  await waitForText(root, 'Try again in 1 s');
  await click(alert(), 'Try again');
  await expect.poll(() => articles().length).toBe(2);
  await expect.poll(() => root.querySelectorAll('[role=alert]').length).toBe(0);
});

test.each(['in a conversation', 'in a new one'])(
  'offline, a question %s is not sent, and can be sent again later',
  async (where) => {
    await open(where === 'in a new one' ? '#/chat' : '#/chat/one');
    vi.spyOn(navigator, 'onLine', 'get').mockReturnValue(false);
    isOnline = false;
    await ask('What is a pier?');
    if (where === 'in a new one') {
      await waitForText(root, 'Sluice cannot be reached. Check your connection, then try again.');
      expect(field().value).toBe('What is a pier?');
    } else {
      // Sent in vain, it is still there.
      for (const _ of [1, 2]) {
        await expect.poll(() => alert()?.textContent).toMatch(/^Not sent, because Sluice cannot be reached\./);
        expect(articles('You')).toEqual([expect.stringContaining('Not sent')]);
        await click(alert(), 'Send again');
      }
      await expect.poll(() => alert()?.textContent).toMatch(/^Not sent, because Sluice cannot be reached\./);
    }
    isOnline = true;
    await click(root, where === 'in a new one' ? 'Send' : 'Send again');
    await expect.poll(() => articles().length).toBe(2);
    expect(posts().at(-1)?.body).toMatchObject({ messages: [{ role: 'user', content: 'What is a pier?' }] });
  },
);

test('switching conversations keeps a new draft and discards an edited message', async () => {
  await open();
  fill(field(), 'What is a weir?\nIn one sentence.');
  navigateTo('#/chat/one');
  await expect.poll(() => send().disabled).toBe(false);
  expect(field().value).toBe('What is a weir?\nIn one sentence.');
  press(field(), 'Enter');
  await expect.poll(() => articles().length).toBe(2);
  expect(field().value).toBe('');
  await click(root, 'Edit and ask again');
  await expect.poll(() => field().value).toContain('weir');
  navigateTo('#/chat');
  await expect.poll(() => field().value).toBe('');
});

test('a question rejected because of a pending call that the page had not loaded returns to the composer', async () => {
  await open('#/chat/one');
  await waitForText(root, 'No messages yet.');
  talks.set('one', [{ ...CALL }]);
  const paused = createErrorResponse(409, 'conflict_error', 'Decide at /conversations/one/approvals.');
  paused.headers.set('sluice-paused', 'approval');
  instead = [paused];
  await ask('And a cake?');
  await waitForText(root, 'Decide on the call above first. The response waits for your decision.');
  await expect.poll(() => field().value).toBe('And a cake?');
  expect(articles('You')).toEqual([]);
  expect(root.textContent).not.toContain('/approvals');
});

test.each([
  ['Approve with this input', { decision: 'approve', input_text: '{"loaves": 12, "order": 2512292042121000001}' }],
  ['Deny', { decision: 'deny', reason: 'We have bread.' }],
])('%s: the decision on a pending call is sent with its exact input or reason', async (name, decision) => {
  talks.set('one', [{ ...CALL }]);
  await open('#/chat/one');
  await waitForText(root, 'needs your approval');
  if (name !== 'Deny') {
    const input = getElementByName<HTMLTextAreaElement>(root, 'Input (you can change it)');
    expect(input.value).toBe('{\n  "loaves": 1,\n  "order": 2512292042121000001\n}');
    fill(input, '{"loaves": ');
    await click(root, name);
    await waitForText(root, 'The input must be a JSON object');
    fill(input, '{"loaves": 12, "order": 2512292042121000001}');
  } else fill(getElementByName(root, 'Reason for denying'), ' We have bread. ');
  await click(root, name);
  await expect.poll(() => root.textContent).not.toContain('needs your approval');
  expect(asked.filter(({ path }) => path.includes('/approvals/'))).toEqual([
    { method: 'POST', path: '/conversations/one/approvals/apr_1', body: decision },
  ]);
});

test('each response shows the name of its model', async () => {
  await open('#/chat/one');
  for (const model of ['claude-opus-5', 'claude-haiku-5']) {
    chooseValue(getElementByName(root, 'Model'), model);
    await ask('What is a lock?');
    await expect.poll(() => articles().length).toBe(model === 'claude-opus-5' ? 2 : 4);
  }
  const names = () => [...root.querySelectorAll('.message-name')].map(({ textContent }) => textContent);
  await expect.poll(names).toEqual(['Claude Opus 5', 'Claude Haiku 5']);
});

test('a response that used all its tokens for thinking says so, also after reopening, and can be retried with more tokens', async () => {
  await open('#/chat/one');
  isShort = true;
  await ask('What is a weir?');
  const said = 'The model used all its max_tokens (300) for thinking, before any text.';
  await waitForText(root, said);
  await expect.poll(() => articles()).toHaveLength(2);
  expect(articles('Answer')).toEqual([expect.stringMatching(/^Claude Opus 5.*Regenerate$/)]);
  await ask('And a dam?');
  await expect.poll(() => articles()).toHaveLength(4);
  await open('#/chat');
  navigateTo('#/chat/one');
  await expect.poll(() => articles('Answer')).toEqual([expect.stringContaining(said), expect.stringContaining(said)]);
  isShort = false;
  // Eight times the tokens are more than the model has.
  const last = [...root.querySelectorAll('article')].at(-1);
  await click(last as HTMLElement, 'Ask again with 2,000 tokens');
  await expect.poll(() => articles('Answer').at(-1)).toContain('Answer 1');
  const more = { messages: [{ role: 'user', content: 'And a dam?' }], max_tokens: 2_000 };
  expect(posts().at(-1)?.body).toMatchObject(more);
  expect(articles('Answer')).toEqual([expect.stringContaining(said), expect.stringContaining('Answer')]);
  await ask('And a pier?');
  await expect.poll(() => posts().at(-1)?.body).toMatchObject({ max_tokens: 4_096 });
});

test('a text file that is chosen, dropped or pasted is sent with the question and named in the transcript', async () => {
  await open('#/chat/one');
  const files = [new NodeFile(['gate,level\nupper,6'], 'gates.csv', { type: 'text/csv' })];
  const given = (type: string, more: object) =>
    field().dispatchEvent(Object.assign(new Event(type, { bubbles: true, cancelable: true }), more));
  const ways = [
    () => {
      const picker = getElementByName(root, 'Files');
      Object.defineProperty(picker, 'files', { value: files });
      picker.dispatchEvent(new Event('change', { bubbles: true }));
    },
    () => given('drop', { dataTransfer: { files } }),
    () => given('paste', { clipboardData: { files } }),
  ];
  for (const [nth, give] of ways.entries()) {
    give();
    await expect.poll(() => getElementByName(root, 'Remove gates.csv')).toBeDefined();
    await ask('Which gate is the highest?');
    await expect.poll(() => articles('You').length).toBe(nth + 1);
    const source = { type: 'text', media_type: 'text/plain', data: 'gate,level\nupper,6' };
    const text = { type: 'text', text: 'Which gate is the highest?' };
    expect(posts().at(-1)?.body).toMatchObject({
      messages: [{ content: [{ type: 'document', title: 'gates.csv', source }, text] }],
    });
    expect(articles('You').at(-1)).toContain('gates.csv');
    await expect.poll(() => articles().length).toBe(2 * nth + 2);
  }
});

test('sends no question before the state of the conversation is loaded, and keeps the draft', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  isTold = promise;
  await open('#/chat/one');
  fill(field(), 'And a sluice?');
  press(field(), 'Enter');
  expect([send().disabled, field().value, posts()]).toEqual([true, 'And a sluice?', []]);
  resolve();
  await expect.poll(() => send().disabled).toBe(false);
  press(field(), 'Enter');
  await expect.poll(() => articles().length).toBe(2);
});

test('the handbook example does not overwrite an existing prefix of the same name, and asks two questions', async () => {
  await open();
  await click(root, /^Ask a handbook twice/);
  await expect.poll(() => articles().length).toBe(4);
  const stored = asked.filter(({ method }) => method === 'PUT').map(({ path }) => path);
  expect(stored).toEqual(['/prefixes/handbook-2']);
  const created = asked.find(({ method, path }) => method === 'POST' && path === '/conversations');
  expect(created?.body).toMatchObject({ prefix: 'handbook-2' });
});

test('a rejected API key of the deployment shows the API’s error message and a button to try again', async () => {
  keyRefused = createErrorResponse(
    503,
    'api_error',
    'Anthropic does not know the key. It says (401): invalid x-api-key',
  );
  await open();
  await waitForText(root, 'It says (401): invalid x-api-key');
  expect(root.textContent).not.toContain('Simulator.');
  keyRefused = undefined;
  await click(root, 'Try again');
  await waitForText(root, 'Your own gateway to Claude.');
});
