import { effect, untracked, useSignal, useSignalEffect } from '@preact/signals';
import { useEffect, useLayoutEffect } from 'preact/hooks';
import { refreshPrefixList } from '../edge/account.ts';
import { agents, refreshAgentList, shortenVersionHash } from '../edge/agents.ts';
import { useAsyncAction } from '../edge/async-action.ts';
import { hasUnrestrictedScope, isRestricted } from '../edge/identity.ts';
import { hasPlugin } from '../edge/plugins.ts';
import { FaultMessage } from '../ui/fault.tsx';
import { Icon } from '../ui/icon.tsx';
import { NotFound } from '../ui/not-found.tsx';
import { conversationId, currentPart, navigateToSection } from '../ui/route.ts';
import { Composer } from './composer/composer.tsx';
import { countDraftTokensWhileTyping, discardEditOfOtherConversation } from './composer/draft.ts';
import { ConversationList } from './conversation-list.tsx';
import { pollConversationList, refreshConversationList, session, showConversation } from './session/conversations.ts';
import { chosenAgent as chosen } from './session/options.ts';
import { generateMissingTitle, getConversationTitle } from './session/titles.ts';
import { ConversationAsToken } from './token-view.tsx';
import { Transcript } from './transcript.tsx';
import { Welcome } from './welcome.tsx';

export function Chat() {
  const listOpen = useSignal(false);
  const { fault, run } = useAsyncAction();
  useEffect(() => {
    // Lists, which restricted tokens cannot read.
    const hasLists = hasUnrestrictedScope('messages');
    if (hasLists) void run(() => Promise.all([refreshConversationList(), refreshPrefixList(), refreshAgentList()]));
    const stops = [countDraftTokensWhileTyping(), ...(hasLists ? [pollConversationList()] : [])];
    return () => {
      for (const stop of stops) stop();
    };
  }, [run]);
  // A layout effect runs immediately. With a normal effect, a question sent before the next frame would go to the previous
  // conversation.
  useLayoutEffect(
    () =>
      effect(() => {
        const id = conversationId.value;
        // While another part is shown, keep following the running turn: the Inspector shows its events.
        if (currentPart.value !== 'chat') return;
        untracked(() => {
          discardEditOfOtherConversation(id);
          showConversation(id);
        });
        // In a narrow window the list of conversations covers the chat, so close it when a conversation is chosen.
        listOpen.value = false;
      }),
    [listOpen],
  );
  useSignalEffect(() => {
    const opened = session.value;
    if (opened?.report.value?.title === null) void generateMissingTitle(opened.id);
  });
  useEffect(() => {
    const closeListOnEscape = (event: KeyboardEvent) => {
      if (event.key !== 'Escape' || !listOpen.value) return;
      event.preventDefault();
      listOpen.value = false;
    };
    // Listen in the capture phase, so that this handler gets the Escape key before others do.
    document.addEventListener('keydown', closeListOnEscape, true);
    return () => document.removeEventListener('keydown', closeListOnEscape, true);
  }, [listOpen]);
  const current = session.value;
  const isMissing = current?.isMissing.value === true;
  // Restricted tokens cannot read titles.
  const title =
    current && (isRestricted() ? current.id : getConversationTitle(current.id, current.report.value?.title));
  return (
    <div class="chat" data-list-open={listOpen.value}>
      {!isRestricted() && <ConversationList onClose={() => (listOpen.value = false)} />}
      <section class="talk" aria-label="Conversation">
        <header class="talk-head">
          <div class="column">
            {isRestricted() ? (
              current && (
                <a class="anew" href="#/chat">
                  New conversation
                </a>
              )
            ) : (
              <button
                type="button"
                class="icon-button list-toggle"
                aria-label="Conversations"
                aria-expanded={listOpen.value}
                onClick={() => (listOpen.value = !listOpen.value)}
              >
                <Icon name="menu" />
              </button>
            )}
            {!isMissing && (
              <h1 class="clipped" dir="auto" title={title}>
                {title ?? 'New conversation'}
              </h1>
            )}
            {current?.report.value?.prefix && <span class="tag">{current.report.value.prefix.split('@')[0]}</span>}
            {current?.report.value?.agent && <AgentTag agent={current.report.value.agent} />}
            {current && !isMissing && hasPlugin('agents') && !isRestricted() && (
              <ConversationAsToken key={current.id} id={current.id} agent={current.report.value?.agent?.name} />
            )}
          </div>
        </header>
        {fault.value && <FaultMessage text={fault.value} />}
        {isMissing && (
          <NotFound
            title="This conversation does not exist"
            text="The conversation was deleted, or belongs to another account."
          />
        )}
        {!isMissing && (current ? <Transcript key={current.id} session={current} /> : <Welcome />)}
        {!isMissing && <Composer />}
      </section>
    </div>
  );
}

/** Shows which version of an agent answers here; where another one is current by now, it offers a conversation with that. */
function AgentTag({ agent: { name, version } }: { agent: { name: string; version: string } }) {
  const stored = agents.value?.filter((row) => row.name === name) ?? [];
  const isOld = stored.length > 0 && !stored.some((row) => row.version === version);
  const startNewConversation = () => {
    chosen.value = name;
    navigateToSection('chat');
  };
  if (isRestricted()) return <span class="tag">{name}</span>;
  return (
    <>
      <a
        class="tag"
        href={`#/agents/${encodeURIComponent(name)}`}
        title="A conversation keeps the version it started with"
      >
        {name} · {shortenVersionHash(version)}
        {isOld && ' · older'}
      </a>
      {isOld && (
        <button
          type="button"
          class="link anew"
          title="A new conversation with the current version"
          onClick={startNewConversation}
        >
          New conversation
        </button>
      )}
    </>
  );
}
