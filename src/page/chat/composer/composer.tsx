import { type Signal, useSignal, useSignalEffect } from '@preact/signals';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import type { Approval } from '../../../client/index.ts';
import { listUsableAgents } from '../../edge/agents.ts';
import { formatErrorForUser, modelsFault, refreshModelList } from '../../edge/client.ts';
import { connectionState } from '../../edge/credential.ts';
import { isApprovalRequiredError } from '../../edge/error-messages.ts';
import { isRestricted } from '../../edge/identity.ts';
import { availableModels, currentModel, selectModel } from '../../edge/models.ts';
import { announceToScreenReader } from '../../ui/announcer.tsx';
import { SmallButton } from '../../ui/button.tsx';
import { FaultMessage } from '../../ui/fault.tsx';
import { formatCount } from '../../ui/format.ts';
import { Icon, IconButton } from '../../ui/icon.tsx';
import { isInputMethodKey } from '../../ui/input-method.ts';
import { conversationId } from '../../ui/route.ts';
import { Usd } from '../../ui/usd.tsx';
import { canReadApprovals, canUserDecideApproval } from '../session/approvals.ts';
import { askInConversationCopy, sendInShownConversation, session } from '../session/conversations.ts';
import { chosenAgent } from '../session/options.ts';
import { listToolsForNextQuestion } from '../session/tools.ts';
import { createImageUrl, readFileAsAttachment } from './attachments.ts';
import {
  attachments,
  clearDraft,
  createMessageContentFromDraft,
  draftText,
  draftTokenCount,
  editedMessageId,
  isDraftEmpty,
  loadMessageIntoDraft,
  maximumAnswerUsd,
} from './draft.ts';
import { QuestionOptions } from './question-options.tsx';

/** Distinguishes an agent's name from a model's id. */
const AGENT_OPTION_PREFIX = 'agent ';

export function Composer() {
  const picker = useRef<HTMLInputElement>(null);
  const draft = useRef<HTMLTextAreaElement>(null);
  const send = useRef<HTMLButtonElement>(null);
  const fault = useSignal<string | undefined>(undefined);
  // Focus the field only on devices with a mouse: on a phone the on-screen keyboard would cover half of the page.
  useSignalEffect(() => {
    void conversationId.value;
    if (matchMedia('(hover: hover)').matches) draft.current?.focus();
  });
  useEffect(() => {
    document.addEventListener('keydown', stopAnswerOnEscape);
    return () => document.removeEventListener('keydown', stopAnswerOnEscape);
  }, []);
  const current = session.value;
  const running = current?.liveAnswer.value !== undefined;
  // When the answer ends, the focused Stop button becomes Send. Move the focus to the field: Send may be disabled, and pressing
  // the key again must not send the draft.
  useLayoutEffect(() => {
    if (!running && send.current === document.activeElement && send.current?.matches(':focus-visible'))
      draft.current?.focus();
  }, [running]);
  // An edited question is asked in a copy of the conversation that ends before any waiting call, so that call does not block
  // it.
  const waits = current?.isWaitingForApproval.value === true && editedMessageId.value === undefined;
  // A conversation with an agent needs no model from the list, and one with an answer already has a model.
  const hasModel = current
    ? (current.report.value?.agent ?? current.modelToAsk)
    : chosenAgent.value || currentModel.value;
  const lacksModel = modelsFault.value !== undefined && !hasModel;
  const ready = !isDraftEmpty.value && !current?.isBusy.value && !waits && !lacksModel;
  const attachFiles = async (files: Iterable<File>) => {
    fault.value = undefined;
    const read = await Promise.allSettled([...files].map(readFileAsAttachment));
    for (const result of read) {
      if (result.status === 'fulfilled') attachments.value = [...attachments.value, result.value];
      else fault.value = formatErrorForUser(result.reason);
    }
  };
  const sendDraft = () => {
    if (!ready) return;
    const content = createMessageContentFromDraft();
    const before = editedMessageId.value;
    const draft = { text: draftText.value, attachments: attachments.value };
    clearDraft();
    fault.value = undefined;
    const sending =
      before !== undefined && current
        ? askInConversationCopy(current, before, content)
        : sendInShownConversation(content);
    const restoreDraft = () => {
      draftText.value = [draft.text, draftText.value].filter(Boolean).join('\n\n');
      attachments.value = draft.attachments;
      editedMessageId.value = before;
    };
    const handleEnd = () => {
      // The token was rejected, and the conversation is no longer shown: the draft waits for the next token.
      if (connectionState.value === 'gate' && current && !current.hasArrived.value) restoreDraft();
      else restoreRejectedDraft();
    };
    sending.then(handleEnd).catch((thrown: unknown) => {
      fault.value = formatErrorForUser(thrown);
      announceToScreenReader(fault.value);
      restoreDraft();
    });
  };
  const handleKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Enter' && !event.shiftKey && !isInputMethodKey(event)) {
      event.preventDefault();
      sendDraft();
    } else if (event.key === 'Escape' && editedMessageId.value !== undefined) {
      event.preventDefault();
      clearDraft();
    }
  };
  const handlePaste = (event: ClipboardEvent) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    void attachFiles(files);
  };
  return (
    <form
      class="composer"
      {...useFileDrop((files) => void attachFiles(files))}
      onSubmit={(event) => {
        event.preventDefault();
        sendDraft();
      }}
    >
      <div class="column">
        {editedMessageId.value !== undefined && (
          <p class="editing apart">
            <span>Your edit continues in a copy. The original conversation is unchanged.</span>
            <SmallButton name="Cancel" onClick={clearDraft} />
          </p>
        )}
        {fault.value && <FaultMessage text={fault.value} />}
        {modelsFault.value && (
          <FaultMessage text={`The models cannot be listed now.\n${modelsFault.value}`}>
            <SmallButton name="Try again" onClick={() => void refreshModelList()} />
          </FaultMessage>
        )}
        {attachments.value.length > 0 && <AttachmentList />}
        <div class="field">
          <textarea
            ref={draft}
            id="draft"
            aria-label="Message"
            dir="auto"
            placeholder="Ask anything"
            rows={1}
            value={draftText.value}
            onInput={(event) => (draftText.value = event.currentTarget.value)}
            onKeyDown={handleKeyDown}
            onPaste={handlePaste}
          />
          <input
            ref={picker}
            type="file"
            multiple
            hidden
            aria-label="Files"
            onChange={(event) => {
              void attachFiles(event.currentTarget.files ?? []);
              event.currentTarget.value = '';
            }}
          />
          <div class="field-foot">
            <IconButton icon="attach" label="Attach files" onClick={() => picker.current?.click()} />
            <ModelOrAgentPicker />
            {!isRestricted() && <QuestionOptions />}
            {running ? (
              <button
                ref={send}
                type="button"
                class="send"
                aria-label="Stop"
                title="Stop"
                onClick={() => void current?.stopRunningTurn()}
              >
                <Icon name="stop" />
              </button>
            ) : (
              <button ref={send} type="submit" class="send" aria-label="Send" title="Send" disabled={!ready}>
                <Icon name="send" />
              </button>
            )}
          </div>
        </div>
        {waits ? <DecisionNote approvals={current.approvals.value} /> : <DraftTokenCount isAnswering={running} />}
      </div>
    </form>
  );
}

/** Restores a question that the edge rejected because a person must decide on a call first. The note below explains that. */
function restoreRejectedDraft(): void {
  const failed = session.value?.failure;
  if (
    !failed?.value?.question ||
    !isApprovalRequiredError(failed.value.error) ||
    !session.value?.isWaitingForApproval.value
  )
    return;
  loadMessageIntoDraft(failed.value.question);
  failed.value = undefined;
}

/** Stops a running answer, where Escape has nothing to close and nothing to leave. */
function stopAnswerOnEscape(event: KeyboardEvent): void {
  const isUsed =
    event.defaultPrevented || isInputMethodKey(event) || (event.target as Element).matches('input, select');
  if (event.key !== 'Escape' || isUsed || document.querySelector('dialog:is([open], :popover-open)')) return;
  void session.value?.stopRunningTurn();
}

/** Explains why nothing can be sent while calls wait. It replaces the token count of the draft, so that nothing moves. */
function DecisionNote({ approvals }: { approvals: readonly Approval[] }) {
  const isOthers =
    !canReadApprovals() || (approvals.length > 0 && approvals.every((approval) => !canUserDecideApproval(approval)));
  return (
    <p class="draft-count quiet waits" role="status">
      {isOthers
        ? `${canReadApprovals() ? 'An admin' : 'Someone whose token allows it'} must decide first. Your draft is kept.`
        : 'Decide on the call above first. The response waits for your decision.'}
    </p>
  );
}

function AttachmentList() {
  return (
    <ul class="row attached">
      {attachments.value.map((attachment) => {
        const { name, block } = attachment;
        const address = createImageUrl(block);
        return (
          <li key={attachment}>
            {address ? (
              <img src={address} alt={name} />
            ) : (
              <span class="file">
                <Icon name="file" />
                <span>{name}</span>
              </span>
            )}
            <IconButton
              icon="close"
              label={`Remove ${name}`}
              onClick={() => (attachments.value = attachments.value.filter((other) => other !== attachment))}
            />
          </li>
        );
      })}
    </ul>
  );
}

/**
 * Shows the tokens and the cost of the prompt, with history and prefix, before it is sent, and what the answer can cost at most;
 * without a draft the keys that work.
 */
function DraftTokenCount({ isAnswering }: { isAnswering: boolean }) {
  const count = draftTokenCount.value;
  if (!count) {
    const keys = isAnswering ? 'Escape to stop' : 'Enter to send, Shift + Enter for a new line';
    const hint = draftText.value === '' ? keys : '';
    return (
      <p class="draft-count quiet">
        {/* A new element for each text: in the same element, the centred text would visibly move. */}
        <span key={hint} class="draft-hint">
          {hint}
        </span>
      </p>
    );
  }
  const { input_tokens, cost_usd, fits, context_window } = count;
  const tokens = `${formatCount(input_tokens)} tokens`;
  if (fits === false) {
    return (
      <p class="draft-count quiet" data-fits={false}>
        {`${tokens}: this model supports at most ${formatCount(context_window ?? 0)}`}
      </p>
    );
  }
  const outputUsd = maximumAnswerUsd.value;
  const of = listToolsForNextQuestion(false).length > 0 ? 'each step' : 'answer';
  return (
    <p class="draft-count quiet">
      {cost_usd ? <Usd before={`${tokens} in (`} value={cost_usd.input} after=")" /> : `${tokens} in`}
      {cost_usd &&
        (outputUsd === undefined ? ', plus the answer' : <Usd before={` · ${of} up to `} value={outputUsd} />)}
    </p>
  );
}

/** Lets the user choose a model, or for a new conversation an agent, which has its own model. */
function ModelOrAgentPicker() {
  const current = session.value;
  const retained = current?.report.value?.agent?.name;
  const named = current ? retained : chosenAgent.value || undefined;
  const names = current ? [retained ?? []].flat() : listUsableAgents();
  // A restricted token cannot read the agent of a conversation that it did not just create.
  if (isRestricted() && current && retained === undefined) return null;
  const chooseModelOrAgent = (value: string) => {
    chosenAgent.value = value.startsWith(AGENT_OPTION_PREFIX) ? value.slice(AGENT_OPTION_PREFIX.length) : '';
    if (chosenAgent.value === '') selectModel(value);
  };
  const chosen = current ? current.modelToAsk : currentModel.value?.id;
  const choices =
    availableModels.value.length > 0 || chosen === undefined
      ? availableModels.value
      : [{ id: chosen, display_name: chosen }];
  const options = choices.map(({ id, display_name }) => (
    <option key={id} value={id}>
      {display_name}
    </option>
  ));
  return (
    <select
      aria-label={names.length === 0 ? 'Model' : 'Model or agent'}
      title={retained === undefined ? undefined : 'A conversation keeps the agent it started with'}
      disabled={retained !== undefined}
      value={named === undefined ? chosen : AGENT_OPTION_PREFIX + named}
      onChange={(event) => chooseModelOrAgent(event.currentTarget.value)}
    >
      {names.length === 0 ? options : options.length > 0 && <optgroup label="Models">{options}</optgroup>}
      {names.length > 0 && (
        <optgroup label="Agents">
          {names.map((name) => (
            <option key={name} value={AGENT_OPTION_PREFIX + name}>
              {name}
            </option>
          ))}
        </optgroup>
      )}
    </select>
  );
}

/**
 * Takes files that are dropped on an element. @returns the element's properties; `data-over` is set while files hover over it
 */
function useFileDrop(take: (files: FileList) => void) {
  const over: Signal<boolean> = useSignal(false);
  return {
    'data-over': over.value,
    onDragOver: (event: DragEvent) => {
      event.preventDefault();
      over.value = true;
    },
    onDragLeave: () => {
      over.value = false;
    },
    onDrop: (event: DragEvent) => {
      event.preventDefault();
      over.value = false;
      if (event.dataTransfer) take(event.dataTransfer.files);
    },
  };
}
