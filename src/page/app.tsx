import { useSignal, useSignalEffect } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { Chat } from './chat/chat.tsx';
import { refreshSpentToday, spentToday } from './edge/account.ts';
import { isBudgetViewAvailable, listAvailablePageParts } from './edge/available-views.ts';
import { checkConnection, connectionFault, deploymentRejection, upstream } from './edge/client.ts';
import { connectionState, token } from './edge/credential.ts';
import { identity, isRestricted } from './edge/identity.ts';
import { type ComponentLoader, LazyComponent } from './edge/lazy-component.tsx';
import { currentTheme, switchToNextTheme } from './theme.ts';
import { TokenDialog, TokenGate } from './token.tsx';
import { Announcer } from './ui/announcer.tsx';
import { SmallButton } from './ui/button.tsx';
import { FaultMessage } from './ui/fault.tsx';
import { formatRowTime } from './ui/format.ts';
import { IconButton } from './ui/icon.tsx';
import { isInputMethodKey } from './ui/input-method.ts';
import { NotFound } from './ui/not-found.tsx';
import {
  budgetView,
  currentAddress,
  currentPart,
  isStartAddress,
  navigateToSection,
  type PageSection,
  unknownAddress,
} from './ui/route.ts';
import { Usd } from './ui/usd.tsx';

const PART_NAMES: Record<PageSection, string> = {
  chat: 'Chat',
  classify: 'Classify',
  agents: 'Agents',
  budget: 'Budget',
  wire: 'Inspector',
};
const LAZY_PARTS: Record<Exclude<PageSection, 'chat'>, ComponentLoader> = {
  classify: async () => (await import('./classify/classify.tsx')).Classify,
  agents: async () => (await import('./agents/agents.tsx')).Agents,
  budget: async () => (await import('./budget/budget.tsx')).Budget,
  wire: async () => (await import('./wire/wire.tsx')).Wire,
};
/** The key that begins a conversation, with Control or Command and Shift. */
const NEW_CONVERSATION_KEY = 'O';
const THEME_ICONS = { system: 'system', light: 'sun', dark: 'moon' } as const;

export function App() {
  const asksToken = useSignal(false);
  const ready = connectionState.value === 'ready';
  const isMissing = ready && findMissingAddress() !== undefined;
  useEffect(() => {
    // Ignore an error here: the Budget page reads the same report and shows the error.
    if (ready) refreshSpentToday().catch(() => {});
  }, [ready]);
  useEffect(() => {
    const handleShortcut = (event: KeyboardEvent) => {
      const isPressed =
        (event.ctrlKey || event.metaKey) && event.shiftKey && event.key.toUpperCase() === NEW_CONVERSATION_KEY;
      const isAvailable = connectionState.value === 'ready' && listAvailablePageParts().includes('chat');
      if (!isPressed || event.altKey || isInputMethodKey(event) || !isAvailable) return;
      event.preventDefault();
      navigateToSection('chat');
      document.getElementById('draft')?.focus();
    };
    addEventListener('keydown', handleShortcut);
    return () => removeEventListener('keydown', handleShortcut);
  }, []);
  useEffect(() => {
    // Without this, the browser replaces the page with a file that is dropped beside a field for files.
    const keepPage = (event: DragEvent) => {
      if (!event.defaultPrevented && event.dataTransfer?.types.includes('Files')) event.preventDefault();
    };
    addEventListener('dragover', keepPage);
    addEventListener('drop', keepPage);
    return () => {
      removeEventListener('dragover', keepPage);
      removeEventListener('drop', keepPage);
    };
  }, []);
  useSignalEffect(() => {
    const isMissing = connectionState.value === 'ready' && findMissingAddress() !== undefined;
    document.title = `${isMissing ? 'Not found' : PART_NAMES[getShownPart()]} · Sluice`;
  });
  return (
    <>
      <button type="button" class="skip" onClick={() => document.getElementById('main')?.focus()}>
        Skip to content
      </button>
      <header class="top">
        <a class="inline brand" href="#/">
          <img src="/page/icon.svg" alt="" width="24" height="24" />
          Sluice
        </a>
        <nav class="parts" aria-label="Parts">
          {listAvailablePageParts().map((name) => (
            <a key={name} href={`#/${name}`} aria-current={name === getShownPart() && !isMissing ? 'page' : undefined}>
              {PART_NAMES[name]}
            </a>
          ))}
        </nav>
        <div class="inline top-end">
          {!isRestricted() && <TodaySpend />}
          <a class="docs" href="/docs" title="Reference and guides">
            Docs
          </a>
          <IconButton
            icon={THEME_ICONS[currentTheme.value]}
            label={`Theme: ${currentTheme.value}. Switch theme`}
            onClick={switchToNextTheme}
          />
          <IconButton
            icon="person"
            label={`Account ${identity.value.account}`.trim()}
            disabled={!ready}
            onClick={() => (asksToken.value = true)}
          />
        </div>
      </header>
      {upstream.value === 'simulator' && (
        <aside class="banner" aria-label="Simulator">
          <strong>Simulator.</strong> Responses and their costs are simulated.{' '}
          {identity.value.admin && (
            <span class="banner-help">
              Put <code>ANTHROPIC_API_KEY</code> in <code>.dev.vars</code>, then restart.
            </span>
          )}
        </aside>
      )}
      {deploymentRejection.value.since !== undefined && (
        <aside class="banner" data-look="refused" aria-label="Key rejected">
          <strong>Claude has rejected this deployment since {formatRowTime(deploymentRejection.value.since)}.</strong>{' '}
          {deploymentRejection.value.todo}
        </aside>
      )}
      {connectionState.value !== 'starting' && (
        <main id="main" tabIndex={-1}>
          {ready && <CurrentPagePart key={token.value} />}
          {connectionState.value === 'gate' && <TokenGate />}
          {connectionState.value === 'unreachable' && (
            <div class="page">
              <FaultMessage
                text={connectionFault.value ?? 'Sluice cannot be reached.'}
                // Without a token, the page is used in development, by someone who can fix the cause. Show the details at once.
                isOpen={token.value === undefined}
              >
                <SmallButton kind="first" name="Try again" onClick={() => void checkConnection()} />
              </FaultMessage>
            </div>
          )}
        </main>
      )}
      {asksToken.value && <TokenDialog onClose={() => (asksToken.value = false)} />}
      <Announcer />
    </>
  );
}

/** The part that is shown. The page opens with the first part that the token allows. */
function getShownPart(): PageSection {
  return (isStartAddress.value ? listAvailablePageParts()[0] : undefined) ?? currentPart.value;
}

/** @returns the address in the URL if neither the page nor this deployment has anything at it */
function findMissingAddress(): string | undefined {
  const part = getShownPart();
  const isAvailable =
    listAvailablePageParts().includes(part) && (part !== 'budget' || isBudgetViewAvailable(budgetView.value));
  return unknownAddress.value ?? (isAvailable ? undefined : currentAddress.value);
}

function CurrentPagePart() {
  const missing = findMissingAddress();
  if (missing !== undefined)
    return (
      <NotFound
        title="This page does not exist"
        text={`${missing} is not a page of this deployment, or your token cannot open it. Check the address.`}
      />
    );
  const part = getShownPart();
  return part === 'chat' ? <Chat /> : <LazyComponent load={LAZY_PARTS[part]} />;
}

/**
 * Shows what was spent today: to an admin by all accounts. Its place is reserved, so that nothing moves when the number
 * arrives.
 */
export function TodaySpend() {
  const spent = spentToday.value;
  const isOfDeployment = spent?.byAll === true;
  return (
    <a
      class="spent"
      href="#/budget"
      title={`Spent today by ${isOfDeployment ? 'the deployment' : 'you, including holds for running requests'}`}
      data-known={spent !== undefined}
      data-of={isOfDeployment ? 'deployment' : 'account'}
    >
      {spent && (
        <>
          <span class="quiet wide-label">{isOfDeployment ? 'Deployment today' : 'You today'}</span>
          <span class="quiet brief-label" aria-hidden="true">
            {isOfDeployment ? 'All' : 'You'}
          </span>
          <span>
            <Usd isSum value={spent.usd} />
          </span>
        </>
      )}
    </a>
  );
}
