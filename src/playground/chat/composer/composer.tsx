import { useSignal } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { sentenceOf } from '../../edge/client.ts';
import { announce } from '../../ui/announcer.tsx';
import { SmallButton } from '../../ui/button.tsx';
import { useFileDrop } from '../../ui/file-drop.ts';
import { formatCount, formatUsd } from '../../ui/format.ts';
import { Icon, IconButton } from '../../ui/icon.tsx';
import { askInstead, send, session } from '../session/conversations.ts';
import { AskOptions } from './ask-options.tsx';
import { clearDraft, counted, draftContent, draftText, editing, isEmpty, pictures } from './draft.ts';
import { ACCEPTED, pictureAddress, readPicture } from './images.ts';

export function Composer() {
  const picker = useRef<HTMLInputElement>(null);
  const fault = useSignal<string | undefined>(undefined);
  const current = session.value;
  const running = current?.live.value !== undefined;
  const ready = !isEmpty.value && !current?.busy.value;
  const take = async (files: Iterable<File>) => {
    fault.value = undefined;
    const read = await Promise.allSettled([...files].map(readPicture));
    for (const result of read) {
      if (result.status === 'fulfilled') pictures.value = [...pictures.value, result.value];
      else fault.value = sentenceOf(result.reason);
    }
  };
  const submit = () => {
    if (!ready) return;
    const content = draftContent();
    const before = editing.value;
    const kept = { text: draftText.value, pictures: pictures.value };
    clearDraft();
    fault.value = undefined;
    const asked = before !== undefined && current ? askInstead(current, before, content) : send(content);
    asked.catch((thrown: unknown) => {
      fault.value = sentenceOf(thrown);
      announce(fault.value);
      draftText.value = kept.text;
      pictures.value = kept.pictures;
      editing.value = before;
    });
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      submit();
    } else if (event.key === 'Escape' && editing.value !== undefined) clearDraft();
  };
  const onPaste = (event: ClipboardEvent) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    void take(files);
  };
  return (
    <form
      class="composer"
      {...useFileDrop((files) => void take(files))}
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <div class="column">
        {editing.value !== undefined && (
          <p class="editing apart">
            <span>Asking again from here, in a copy: what was said stays.</span>
            <SmallButton name="Cancel" onClick={clearDraft} />
          </p>
        )}
        {fault.value && (
          <p class="composer-fault" role="alert">
            {fault.value}
          </p>
        )}
        {pictures.value.length > 0 && (
          <ul class="row pictures">
            {pictures.value.map((picture) => (
              <li key={picture}>
                <img src={pictureAddress(picture.block)} alt={picture.name} />
                <IconButton
                  icon="close"
                  label={`Remove ${picture.name}`}
                  onClick={() => (pictures.value = pictures.value.filter((other) => other !== picture))}
                />
              </li>
            ))}
          </ul>
        )}
        <div class="field">
          <textarea
            id="draft"
            aria-label="Message"
            placeholder="Ask something"
            rows={1}
            value={draftText.value}
            onInput={(event) => (draftText.value = event.currentTarget.value)}
            onKeyDown={onKeyDown}
            onPaste={onPaste}
          />
          <input
            ref={picker}
            type="file"
            accept={ACCEPTED}
            multiple
            hidden
            aria-label="Pictures"
            onChange={(event) => {
              void take(event.currentTarget.files ?? []);
              event.currentTarget.value = '';
            }}
          />
          <IconButton icon="image" label="Add pictures" onClick={() => picker.current?.click()} />
          {running ? (
            <button type="button" class="send" aria-label="Stop" title="Stop" onClick={() => void current?.stop()}>
              <Icon name="stop" />
            </button>
          ) : (
            <button type="submit" class="send" aria-label="Send" title="Send" disabled={!ready}>
              <Icon name="send" />
            </button>
          )}
        </div>
        <div class="composer-foot apart">
          <AskOptions />
          <DraftCount />
        </div>
      </div>
    </form>
  );
}

/** Shows the tokens and the cost of the prompt, with history and prefix, before it is sent. */
function DraftCount() {
  const count = counted.value;
  if (!count) return <p class="draft-count quiet" />;
  const { input_tokens, cost_usd, fits, context_window } = count;
  return (
    <p class="draft-count quiet" data-fits={fits !== false}>
      {fits === false
        ? `${formatCount(input_tokens)} tokens: the model takes ${formatCount(context_window ?? 0)}`
        : `${formatCount(input_tokens)} tokens${cost_usd ? ` · ${formatUsd(cost_usd.input)}` : ''} to ask`}
    </p>
  );
}
