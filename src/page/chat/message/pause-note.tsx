import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { Approval, ApprovalDecision } from '../../../client/index.ts';
import { useAsyncAction } from '../../edge/async-action.ts';
import { isRestricted } from '../../edge/identity.ts';
import { currentModel } from '../../edge/models.ts';
import { hasPlugin } from '../../edge/plugins.ts';
import { SmallButton } from '../../ui/button.tsx';
import { FaultMessage } from '../../ui/fault.tsx';
import { isFocusLost } from '../../ui/focus.ts';
import { Field } from '../../ui/form.tsx';
import { formatCount } from '../../ui/format.ts';
import { Icon } from '../../ui/icon.tsx';
import { navigateToSection } from '../../ui/route.ts';
import { indentJson } from '../../wire/indented-json.ts';
import { canReadApprovals, canUserDecideApproval } from '../session/approvals.ts';
import { askInConversationCopy, session as shownSession } from '../session/conversations.ts';
import type { AnswerWithoutText } from '../session/entries.ts';
import type { Session } from '../session/session.ts';

const PAUSE_REASONS: Record<string, string> = {
  max_turns: 'Paused: the run has reached its step limit.',
  max_usd: 'Paused: the run has reached its spending limit.',
  max_seconds: 'Paused: the run has reached its time limit.',
  max_tool_calls: 'Paused: the run has reached its tool call limit.',
  repeated_call: 'Paused: the run called the same tool with the same input three times in a row.',
  budget: 'Paused: the budget does not cover the next step.',
  revoked: 'Paused: the token was revoked.',
  upstream: 'Paused: Claude is overloaded. Continue in a minute.',
};

/** The factor by which the next request multiplies the `max_tokens` that did not suffice. */
const RETRY_TOKENS_FACTOR = 8;

interface PauseNoteProps {
  /** Why the run is paused; undefined if the API itself paused it, in one of its own tools. */
  reason: string | undefined;
  session: Session;
  /** Whether nothing has been said since. */
  isLast: boolean;
}

/** Explains why an answer is paused, and lets the user continue it. */
export function PauseNote({ reason, session, isLast }: PauseNoteProps) {
  if (reason === 'approval') return isLast && canReadApprovals() ? <ApprovalCards session={session} /> : null;
  return (
    <div class="pause">
      <p>{reason === undefined ? 'Paused by the API.' : (PAUSE_REASONS[reason] ?? `Paused: ${reason}.`)}</p>
      {/* A restricted token cannot send the paused response again. */}
      {isLast && !isRestricted() && (
        <p class="row">
          <SmallButton
            kind="first"
            name="Continue"
            disabled={session.isBusy.value}
            onClick={() => void session.continuePausedTurn()}
          />
          {reason === 'budget' && <SmallButton name="Open Budget" onClick={() => navigateToSection('budget')} />}
        </p>
      )}
    </div>
  );
}

/** Explains why an answer has no text, with a button to ask again: unchanged, or with more tokens. */
export function NoTextNote({ silence: { question, step }, session }: { silence: AnswerWithoutText; session: Session }) {
  const used = step.stop_reason === 'max_tokens' ? Number(step.usage?.output_tokens ?? 0) : 0;
  const room = Math.min(used * RETRY_TOKENS_FACTOR, currentModel.value?.max_tokens ?? Number.POSITIVE_INFINITY);
  const isOfAgent = !!session.report.value?.agent;
  const askAgain = (maxAnswerTokens?: number) => ({
    disabled: session.isBusy.value,
    onClick: () =>
      void askInConversationCopy(session, question.id, question.content, maxAnswerTokens).catch((thrown) =>
        shownSession.value?.showFailure(thrown),
      ),
  });
  return (
    <div class="pause">
      <p>
        {used === 0
          ? 'The model ended its response without text.'
          : `The model used all its max_tokens (${formatCount(used)}) for thinking, before any text.`}
        {used > 0 && isOfAgent && ' To allow more tokens, raise the agent’s maximum output tokens.'}
      </p>
      {hasPlugin('transfer') && !isRestricted() && (
        <p class="row">
          {room > used && !isOfAgent && (
            <SmallButton kind="first" name={`Ask again with ${formatCount(room)} tokens`} {...askAgain(room)} />
          )}
          <SmallButton name="Regenerate" {...askAgain()} />
        </p>
      )}
    </div>
  );
}

/** Shows the calls that wait for approval, each with what can be decided. */
function ApprovalCards({ session }: { session: Session }) {
  const { fault, run } = useAsyncAction();
  useEffect(() => {
    void run(() => session.readApprovals());
  }, [session, run]);
  return (
    <div class="stack">
      {fault.value && <FaultMessage text={fault.value} />}
      {session.approvals.value.map((approval) => (
        <ApprovalCard key={approval.id} approval={approval} session={session} />
      ))}
    </div>
  );
}

function ApprovalCard({ approval, session }: { approval: Approval; session: Session }) {
  const { isBusy: busy, fault, run } = useAsyncAction();
  const indented = indentJson(approval.input_text ?? 'null');
  const input = useSignal(indented);
  const reason = useSignal('');
  const isMine = canUserDecideApproval(approval);
  // Restricted tokens decide on calls without changes.
  const canChangeInput = isMine && !isRestricted();
  const pressed = useRef<HTMLButtonElement | null>(null);
  // If the decision failed, the buttons are enabled again, but the pressed one lost the focus while it was disabled. Restore
  // the focus.
  useEffect(() => {
    if (busy.value) return;
    if (isFocusLost()) pressed.current?.focus();
    pressed.current = null;
  }, [busy.value]);
  const submitDecision = async (decision: () => ApprovalDecision) => {
    pressed.current = document.querySelector<HTMLButtonElement>('button:focus-visible');
    const isDecided = await run(async () => session.decideApproval(approval.id, decision()));
    if (!isDecided || !pressed.current) return;
    pressed.current = null;
    if (isFocusLost()) document.getElementById('draft')?.focus();
  };
  const approveCall = () =>
    submitDecision(() => ({
      decision: 'approve',
      ...(input.value === indented ? {} : { input_text: requireJsonObjectText(input.value) }),
    }));
  const denyCall = () =>
    submitDecision(() => ({
      decision: 'deny',
      ...(reason.value.trim() === '' ? {} : { reason: reason.value.trim() }),
    }));
  return (
    <section class="panel stack approval" aria-label={`Approval of ${approval.name}`}>
      <p class="inline">
        <Icon name="tool" />
        <span>
          <code>{approval.name}</code> {isMine ? 'needs your approval' : 'needs an admin’s approval'}
        </span>
      </p>
      <Field label={canChangeInput ? 'Input (you can change it)' : 'Input'}>
        {(ids) => (
          <textarea
            {...ids}
            class="json"
            rows={Math.min(12, indented.split('\n').length)}
            disabled={!canChangeInput || busy.value}
            value={input.value}
            onInput={(event) => (input.value = event.currentTarget.value)}
          />
        )}
      </Field>
      {fault.value && <FaultMessage text={fault.value} />}
      {isMine && (
        <div class="row">
          <SmallButton
            kind="first"
            name={input.value === indented ? 'Approve' : 'Approve with this input'}
            disabled={busy.value}
            onClick={() => void approveCall()}
          />
          <SmallButton name="Deny" disabled={busy.value} onClick={() => void denyCall()} />
          <input
            class="approval-reason"
            aria-label="Reason for denying"
            placeholder="Reason (optional)"
            maxLength={4_000}
            value={reason.value}
            onInput={(event) => (reason.value = event.currentTarget.value)}
          />
        </div>
      )}
    </section>
  );
}

/** @throws Error with a sentence for the user */
function requireJsonObjectText(text: string): string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error('The input must be a JSON object, such as {"amount": 20}.');
  }
  return text;
}
