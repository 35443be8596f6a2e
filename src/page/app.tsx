import { useSignal, useSignalEffect } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { Chat } from './chat/chat.tsx';
import { refreshSpent, spentToday } from './edge/account.ts';
import { deploymentRefused, refusal, start, state, token, upstream } from './edge/client.ts';
import { identity } from './edge/identity.ts';
import { Later, type Load } from './edge/later.tsx';
import { hasPlugin, plugins } from './edge/plugins.ts';
import { nextTheme, theme } from './theme.ts';
import { TokenDialog, TokenGate } from './token.tsx';
import { Announcer } from './ui/announcer.tsx';
import { SmallButton } from './ui/button.tsx';
import { Fault } from './ui/fault.tsx';
import { formatMoment } from './ui/format.ts';
import { IconButton } from './ui/icon.tsx';
import { NotFound } from './ui/not-found.tsx';
import { go, PARTS, type PagePart, part, unknownAddress } from './ui/route.ts';
import { Usd } from './ui/usd.tsx';

const NAMES: Record<PagePart, string> = {
  chat: 'Chat',
  classify: 'Classify',
  agents: 'Agents',
  budget: 'Budget',
  wire: 'Wire',
};
const LATER: Record<Exclude<PagePart, 'chat'>, Load> = {
  classify: async () => (await import('./classify/classify.tsx')).Classify,
  agents: async () => (await import('./agents/agents.tsx')).Agents,
  budget: async () => (await import('./budget/budget.tsx')).Budget,
  wire: async () => (await import('./wire/wire.tsx')).Wire,
};
/** The key that begins a conversation, with Control or Command and Shift. */
const NEW_KEY = 'O';
const THEME_ICONS = { system: 'system', light: 'sun', dark: 'moon' } as const;

export function App() {
  const asksToken = useSignal(false);
  const ready = state.value === 'ready';
  useEffect(() => {
    // A failure is not shown here: the page of the budget shows it.
    if (ready) refreshSpent().catch(() => {});
  }, [ready]);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const isPressed = (event.ctrlKey || event.metaKey) && event.shiftKey && event.key.toUpperCase() === NEW_KEY;
      if (!isPressed || event.altKey || event.isComposing || state.value !== 'ready') return;
      event.preventDefault();
      go('chat');
      document.getElementById('draft')?.focus();
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
  useSignalEffect(() => {
    document.title = `${unknownAddress.value === undefined ? NAMES[part.value] : 'Not found'} · Sluice`;
  });
  return (
    <>
      <button type="button" class="skip" onClick={() => document.getElementById('main')?.focus()}>
        Skip to content
      </button>
      <header class="top">
        <a class="inline brand" href="#/chat">
          <img src="/page/icon.svg" alt="" width="24" height="24" />
          Sluice
        </a>
        <nav class="parts" aria-label="Parts">
          {shownParts().map((name) => (
            <a
              key={name}
              href={`#/${name}`}
              aria-current={name === part.value && unknownAddress.value === undefined ? 'page' : undefined}
            >
              {NAMES[name]}
            </a>
          ))}
        </nav>
        <div class="inline top-end">
          <Spent />
          <a class="docs" href="/docs" title="Reference and guides">
            Docs
          </a>
          <IconButton icon={THEME_ICONS[theme.value]} label={`Theme: ${theme.value}. Switch it`} onClick={nextTheme} />
          <IconButton
            icon="person"
            label={`Account ${identity.value.account}`}
            disabled={!ready}
            onClick={() => (asksToken.value = true)}
          />
        </div>
      </header>
      {upstream.value === 'simulator' && (
        <aside class="banner" aria-label="Simulator">
          <strong>Simulator.</strong> These answers do not come from Claude.{' '}
          <span class="banner-help">
            Put <code>ANTHROPIC_API_KEY</code> in <code>.dev.vars</code>, then restart.
          </span>
        </aside>
      )}
      {deploymentRefused.value.since !== undefined && (
        <aside class="banner" aria-label="Key refused">
          Claude has refused this deployment since {formatMoment(deploymentRefused.value.since)}.{' '}
          {deploymentRefused.value.todo}
        </aside>
      )}
      {state.value !== 'starting' && (
        <main id="main" tabIndex={-1}>
          {ready && <View key={token.value} />}
          {state.value === 'gate' && <TokenGate />}
          {state.value === 'unreachable' && (
            <div class="page">
              <Fault
                text={refusal.value ?? 'The edge cannot be reached.'}
                // Who needs no token is its developer, and can mend it.
                isOpen={token.value === undefined}
              >
                <SmallButton kind="first" name="Try again" onClick={() => void start()} />
              </Fault>
            </div>
          )}
        </main>
      )}
      {asksToken.value && <TokenDialog onClose={() => (asksToken.value = false)} />}
      <Announcer />
    </>
  );
}

/** @returns the parts that the edge offers; none until it is known which plugins it includes, so that no tab disappears */
function shownParts(): readonly PagePart[] {
  if (plugins.value === undefined) return [];
  return PARTS.filter((name) => name !== 'agents' || hasPlugin('agents'));
}

function View() {
  const { value } = part;
  const unknown = unknownAddress.value ?? (shownParts().includes(value) ? undefined : `#/${value}`);
  if (unknown !== undefined)
    return <NotFound title="This page does not exist" text={`There is nothing at ${unknown}.`} />;
  return value === 'chat' ? <Chat /> : <Later load={LATER[value]} />;
}

/** Shows what was spent today: to an admin by everybody. Its place is reserved, so that nothing moves when the number comes. */
export function Spent() {
  const spent = spentToday.value;
  return (
    <a
      class="spent"
      href="#/budget"
      title={`Spent today by ${spent?.byAll ? 'everybody' : 'you, including what is set aside for running requests'}`}
      data-known={spent !== undefined}
    >
      {spent && <Usd isSum value={spent.usd} after=" today" />}
    </a>
  );
}
