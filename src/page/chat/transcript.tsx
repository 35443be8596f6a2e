import { type Signal, useSignal, useSignalEffect } from '@preact/signals';
import { useCallback, useEffect, useRef } from 'preact/hooks';
import { Icon } from '../ui/icon.tsx';
import { FailureNote } from './message/failure-note.tsx';
import { Message } from './message/message.tsx';
import { useProgressiveMessages } from './older-messages.ts';
import { createTranscriptEntries } from './session/entries.ts';
import type { Session } from './session/session.ts';

const NEAR_END_PX = 80;

/** Shows the messages. A view that is scrolled to the end stays at the end while an answer grows. */
export function Transcript({ session }: { session: Session }) {
  const scroller = useRef<HTMLDivElement>(null);
  const column = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const opensByHand = useRef(false);
  const away = useSignal(false);
  const entries = createTranscriptEntries(session);
  const older = useProgressiveMessages(entries, scroller, column);
  const onScroll = useCallback(() => {
    const element = scroller.current;
    if (!element) return;
    atEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_END_PX;
    away.value = !atEnd.current;
  }, [away]);
  // A `ResizeObserver` calls back before the browser paints, so the view does not jump when it is scrolled there.
  useEffect(() => {
    const handleDetailsToggle = ({ target }: Event) => {
      opensByHand.current = (target as Element).closest('summary, [aria-expanded]') !== null;
    };
    const observer = new ResizeObserver(() => {
      // When the user opens a detail, let it grow downwards, even at the end of the transcript, instead of scrolling to the
      // end.
      if (opensByHand.current) onScroll();
      else if (atEnd.current) scrollToEnd(scroller.current);
      opensByHand.current = false;
    });
    if (column.current) observer.observe(column.current);
    column.current?.addEventListener('click', handleDetailsToggle, true);
    return () => observer.disconnect();
  }, [onScroll]);
  // After a question is sent, scroll to the end to show its answer.
  useSignalEffect(() => {
    if (session.liveAnswer.value) atEnd.current = true;
  });
  return (
    <div class="transcript-frame">
      <div
        class="transcript"
        ref={scroller}
        onScroll={() => {
          onScroll();
          older.onScroll();
        }}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrollable area needs the focus, so that the keyboard can scroll it.
        tabIndex={0}
        role="log"
        aria-live="off"
        aria-label="Messages"
        aria-busy={session.liveAnswer.value !== undefined}
      >
        <div class="column" ref={column}>
          {session.isLoaded.value && entries.length === 0 && !session.failure.value && (
            <p class="quiet">No messages yet.</p>
          )}
          {older.shown.map((entry) => (
            <Message key={entry.key} entry={entry} session={session} />
          ))}
          {session.failure.value && <FailureNote failure={session.failure.value} session={session} />}
        </div>
      </div>
      <ScrollToEndButton
        away={away}
        onClick={() => {
          atEnd.current = true;
          scrollToEnd(scroller.current);
        }}
      />
    </div>
  );
}

/** Shows a button while the end is out of sight. It reads the signal by itself: the messages are not rendered again for it. */
function ScrollToEndButton({ away: isAwayFromEnd, onClick }: { away: Signal<boolean>; onClick(): void }) {
  if (!isAwayFromEnd.value) return null;
  return (
    <button type="button" class="inline to-end" onClick={onClick}>
      <Icon name="down" />
      Jump to the end
    </button>
  );
}

function scrollToEnd(scroller: HTMLElement | null): void {
  if (scroller) scroller.scrollTop = scroller.scrollHeight;
}
