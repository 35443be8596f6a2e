import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { hasMore, listed, loadAll, refreshConversations } from './chat/session/conversations.ts';
import { titleFor } from './chat/session/titles.ts';
import { useAction } from './edge/async-action.ts';
import { identity } from './edge/identity.ts';
import { Dialog } from './ui/dialog.tsx';
import { Fault } from './ui/fault.tsx';
import { Form } from './ui/form.tsx';
import { isFinding } from './ui/route.ts';

/** The views, and where each is. */
const PLACES = [
  ['New conversation', '#/chat'],
  ['Classify', '#/classify'],
  ['Agents', '#/agents'],
  ['Budget', '#/budget'],
  ['Requests', '#/budget/requests'],
  ['Wire', '#/wire'],
] as const;
const MOST_SHOWN = 12;

/** Finds views and conversations by words of their names. The arrow keys go from one to the next. */
export function Finder() {
  const wanted = useSignal('');
  const { fault, run } = useAction();
  const list = useRef<HTMLUListElement>(null);
  useEffect(() => {
    void run(async () => {
      await refreshConversations();
      if (hasMore.value) await loadAll();
    });
  }, [run]);
  const views = [...PLACES, ...(identity.value.admin ? [['Accounts', '#/budget/accounts'] as const] : [])];
  const talks = listed.value.map(({ id, title }) => [titleFor(id, title), `#/chat/${encodeURIComponent(id)}`] as const);
  const words = wanted.value.toLowerCase().split(/\s+/);
  const found = [...views, ...talks].filter(([name]) => words.every((word) => name.toLowerCase().includes(word)));
  const shown = found.slice(0, MOST_SHOWN);
  const close = () => (isFinding.value = false);
  const openAt = (address: string) => {
    location.hash = address;
    close();
  };
  const move = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const field = list.current?.parentElement?.querySelector('input');
    const stops = [field, ...(list.current?.querySelectorAll('a') ?? [])];
    const at = stops.indexOf(document.activeElement as HTMLAnchorElement);
    stops[Math.min(stops.length - 1, Math.max(0, at + step))]?.focus();
  };
  return (
    <Dialog title="Go to" onClose={close}>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: it hears the arrow keys of what is in it. */}
      <div class="stack" onKeyDown={move}>
        <Form onSubmit={() => shown[0] && openAt(shown[0][1])}>
          <input
            type="search"
            aria-label="A view or a conversation"
            placeholder="A view or a conversation"
            autocomplete="off"
            onInput={(event) => (wanted.value = event.currentTarget.value)}
          />
        </Form>
        {fault.value && <Fault text={fault.value} />}
        <ul ref={list} class="found">
          {shown.map(([name, address]) => (
            <li key={address}>
              <a class="clipped" href={address} onClick={close}>
                {name}
              </a>
            </li>
          ))}
        </ul>
        <p class="quiet" role="status">
          {found.length === 0 ? 'Nothing has such a name.' : found.length > MOST_SHOWN && `${found.length} in all.`}
        </p>
      </div>
    </Dialog>
  );
}
