/** A chat in Solid, which stores the stream in a store. */
import { createClient, type MessageStream } from 'sluice/client';
import { createSignal, type JSX, onMount } from 'solid-js';
import h from 'solid-js/h';
import { createStore } from 'solid-js/store';
import { render } from 'solid-js/web';

const sluice = createClient({ baseURL: 'http://localhost:8787' });
const conversation = 'web-solid';

function App() {
  const [page, setPage] = createStore<{ stream: MessageStream | undefined }>({ stream: undefined });
  const [text, setText] = createSignal('');
  const [question, setQuestion] = createSignal('');

  async function follow(stream: MessageStream) {
    setPage({ stream });
    setText('');
    for await (const delta of page.stream?.textDeltas() ?? []) setText((before) => before + delta);
    if (page.stream?.stopped) setText((before) => `${before} (stopped)`);
    setPage({ stream: undefined });
  }

  function ask(event: SubmitEvent) {
    event.preventDefault();
    const messages = [{ role: 'user' as const, content: question() }];
    void follow(sluice.messages.stream({ conversation, model: 'claude-haiku-5-5', max_tokens: 4_096, messages }));
  }

  async function open() {
    const running = await sluice.conversations.resume(conversation, { ifAbsent: 'empty' });
    if (running) await follow(running);
  }
  onMount(() => void open());

  const onInput = ({ target }: { target: HTMLInputElement }) => setQuestion(target.value);
  return [
    h('section', h('p', { class: 'assistant' }, text)),
    h('form', { onSubmit: ask }, h('input', { 'aria-label': 'Question', onInput }), () =>
      page.stream ? h('button', { type: 'button', onClick: () => page.stream?.stop() }, 'Stop') : h('button', 'Ask'),
    ),
  ];
}

// `h` returns functions, which `render` accepts and its type does not.
render(App as unknown as () => JSX.Element, document.getElementById('app') as HTMLElement);
