import { useSignal, useSignalEffect } from '@preact/signals';
import type { ComponentType } from 'preact';
import { useEffect } from 'preact/hooks';
import { Batches } from './batches/batches.tsx';
import { Budget } from './budget/budget.tsx';
import { Chat } from './chat/chat.tsx';
import { Classify } from './classify/classify.tsx';
import { quota, refreshQuota } from './edge/account.ts';
import { refusal, start, state, token, upstream } from './edge/client.ts';
import { identity } from './edge/identity.ts';
import { nextTheme, theme } from './theme.ts';
import { TokenDialog, TokenGate } from './token.tsx';
import { Announcer } from './ui/announcer.tsx';
import { SmallButton } from './ui/button.tsx';
import { Fault } from './ui/fault.tsx';
import { formatUsd } from './ui/format.ts';
import { IconButton } from './ui/icon.tsx';
import { PARTS, type PagePart, part } from './ui/route.ts';
import { Wire } from './wire/wire.tsx';

const VIEWS: Record<PagePart, readonly [title: string, view: ComponentType]> = {
  chat: ['Chat', Chat],
  classify: ['Classify', Classify],
  batches: ['Batches', Batches],
  budget: ['Budget', Budget],
  wire: ['Wire', Wire],
};
const THEME_ICONS = { system: 'system', light: 'sun', dark: 'moon' } as const;

export function App() {
  const asksToken = useSignal(false);
  const [, View] = VIEWS[part.value];
  const ready = state.value === 'ready';
  useEffect(() => {
    // A failure is not shown here: the page of the budget shows it.
    if (ready) refreshQuota().catch(() => {});
  }, [ready]);
  useSignalEffect(() => {
    document.title = `${VIEWS[part.value][0]} · Sluice`;
  });
  return (
    <>
      <button type="button" class="skip" onClick={() => document.getElementById('main')?.focus()}>
        To the content
      </button>
      <header class="top">
        <a class="inline brand" href="#/chat">
          <img src="/page/icon.svg" alt="" width="24" height="24" />
          Sluice
        </a>
        <nav class="parts" aria-label="Parts">
          {PARTS.map((name) => (
            <a key={name} href={`#/${name}`} aria-current={name === part.value ? 'page' : undefined}>
              {VIEWS[name][0]}
            </a>
          ))}
        </nav>
        <div class="inline top-end">
          <Spent />
          <a class="docs" href="/docs" title="The reference and the guides">
            Docs
          </a>
          <IconButton icon={THEME_ICONS[theme.value]} label={`Theme: ${theme.value}. Change it`} onClick={nextTheme} />
          <IconButton
            icon="person"
            label={`Account ${identity.value.account}`}
            disabled={!ready}
            onClick={() => (asksToken.value = true)}
          />
        </div>
      </header>
      {upstream.value === 'simulator' && (
        <p class="banner" role="note">
          <strong>Simulator.</strong> These answers are not Claude’s. Put <code>ANTHROPIC_API_KEY</code> in{' '}
          <code>.dev.vars</code> and start again.
        </p>
      )}
      {state.value !== 'starting' && (
        <main id="main" tabIndex={-1}>
          {ready && <View key={token.value} />}
          {state.value === 'gate' && <TokenGate />}
          {state.value === 'unreachable' && (
            <div class="page">
              <Fault text={refusal.value ?? 'The edge could not be reached.'}>
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

/** Shows what was spent today. Its place is reserved, so that nothing moves when the number comes. */
function Spent() {
  const day = quota.value?.day;
  return (
    <a
      class="spent"
      href="#/budget"
      title="Spent today, with what is set aside for running requests"
      data-known={day !== undefined}
    >
      {/* One text, which begins where it began: nothing moves when it gets longer. */}
      {day && `${formatUsd(day.settled_usd + day.held_usd)} today`}
    </a>
  );
}
