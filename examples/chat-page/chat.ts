/**
 * Shows a chat without a framework: it streams, stops, and survives lost connections and reloads.
 *
 * Start the edge, then: npx esbuild examples/chat-page/chat.ts --bundle --format=esm --servedir=examples/chat-page --outdir=examples/chat-page
 */
// In a project of your own: from 'sluice/client'.
import { type ConversationMessage, createClient, type MessageStream } from '../../src/client/index.ts';

const edge = new URLSearchParams(location.search).get('edge') ?? 'http://localhost:8787';
// In production: token: () => fetch('/token').then((response) => response.text()), from a server that knows the user.
const sluice = createClient({ baseURL: edge });
// The URL names the conversation, so that a reload, a bookmark or another window finds it.
location.hash ||= `chat-${Math.random().toString(36).slice(2)}`;
const conversation = location.hash.slice(1);

const find = <T extends Element>(selector: string) => document.querySelector(selector) as T;
const main = find<HTMLElement>('main');
const form = find<HTMLFormElement>('form');
const input = find<HTMLInputElement>('[name=text]');
const stop = find<HTMLButtonElement>('[name=stop]');
const status = find<HTMLElement>('[role=status]');

function show(role: string, text: string): HTMLElement {
  const article = document.createElement('article');
  article.className = role;
  article.textContent = text;
  main.append(article);
  return article;
}

const textOf = ({ content }: ConversationMessage) =>
  typeof content === 'string' ? content : content.map(({ text }) => text ?? '').join('');

async function follow(stream: MessageStream): Promise<void> {
  const article = show('assistant', '');
  stop.disabled = false;
  stop.onclick = () => void stream.stop();
  try {
    for await (const text of stream.textDeltas()) article.append(text);
    status.textContent = stream.costUsd === undefined ? '' : `$${stream.costUsd}`;
  } catch (error) {
    status.textContent = String(error);
  }
  stop.disabled = true;
}

const onConnection = (state: 'open' | 'lost') => {
  status.textContent = state === 'lost' ? 'Connection lost, trying again …' : '';
};

form.onsubmit = (event) => {
  event.preventDefault();
  show('user', input.value);
  const messages = [{ role: 'user' as const, content: input.value }];
  void follow(
    sluice.messages.stream({ conversation, model: 'claude-haiku-5-5', max_tokens: 4_096, messages }, { onConnection }),
  );
  form.reset();
};

try {
  const { data } = await sluice.conversations.messages(conversation, { limit: 1_000, pending: true });
  for (const message of data) show(message.role, textOf(message));
  const last = data.at(-1);
  // The running turn is named: so its answer comes even if it has ended meanwhile.
  const turn = last?.status === 'running' ? last.turn : undefined;
  const running = await sluice.conversations.resume(conversation, { turn, onConnection });
  if (running) await follow(running);
} catch (error) {
  // A conversation is created by its first message.
  if ((error as { status?: number }).status !== 404) status.textContent = String(error);
}
