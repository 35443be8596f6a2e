import { useId, useRef } from 'preact/hooks';
import { SmallButton } from '../ui/button.tsx';
import { Fault } from '../ui/fault.tsx';
import { useFileDrop } from '../ui/file-drop.ts';
import { Form, SubmitButton } from '../ui/form.tsx';
import { formatCount } from '../ui/format.ts';
import { IconButton } from '../ui/icon.tsx';
import { choose, chooseSample, draftBusy, draftFault, forget, price, priced, submit, upload } from './draft.ts';
import { Estimate } from './estimate.tsx';
import { PromptFields } from './prompt-fields.tsx';
import type { Upload } from './upload.ts';

/** Makes a batch of a file: reads it, shows its price, sends it. */
export function NewBatch() {
  const heading = useId();
  const read = upload.value;
  const ready = priced.value;
  const busy = draftBusy.value;
  return (
    <section class="panel stack new-batch" aria-labelledby={heading} aria-busy={busy}>
      <header class="apart page-head">
        <h2 id={heading}>New batch</h2>
        {!read && <SmallButton name="Try it with twelve tickets" disabled={busy} onClick={chooseSample} />}
      </header>
      {read ? <Chosen read={read} /> : <FileField />}
      {draftFault.value && <Fault text={draftFault.value} />}
      {read && (
        <Form onSubmit={() => void (ready ? submit() : price())}>
          {read.kind === 'rows' && <PromptFields upload={read} />}
          {ready && <Estimate estimate={ready.estimate} />}
          <p class="row">
            <SubmitButton
              name={ready ? `Send ${formatCount(ready.count)} requests` : busy ? 'Pricing…' : 'Show the price'}
              disabled={busy || ready?.estimate.fits === false}
            />
            {!ready && <span class="quiet">Nothing is sent to Claude yet.</span>}
          </p>
        </Form>
      )}
    </section>
  );
}

function Chosen({ read }: { read: Upload }) {
  const count = read.kind === 'items' ? read.count : read.rows.length;
  return (
    <p class="apart chosen-file">
      <span>
        <strong>{read.name}</strong>
        <span class="quiet">
          {' '}
          {formatCount(count)} {read.kind === 'items' ? 'requests, as they are' : count === 1 ? 'row' : 'rows'}
        </span>
      </span>
      <IconButton icon="close" label="Choose another file" disabled={draftBusy.value} onClick={forget} />
    </p>
  );
}

/** Takes a file: chosen, or dropped. */
function FileField() {
  const field = useRef<HTMLInputElement>(null);
  const take = (files: FileList | null) => {
    const file = files?.[0];
    if (file) void choose(file);
    // The same file can be chosen again, once it was corrected.
    if (field.current) field.current.value = '';
  };
  return (
    <label class="file-field" {...useFileDrop(take)}>
      <span>{draftBusy.value ? 'Reading…' : 'Choose or drop a file with one request, row or text per line'}</span>
      <input
        ref={field}
        type="file"
        aria-label="File"
        accept=".jsonl,.ndjson,.csv,.tsv,.txt"
        disabled={draftBusy.value}
        onChange={(event) => take(event.currentTarget.files)}
      />
      <span class="quiet">
        CSV with named columns, JSONL with <code>custom_id</code> and <code>params</code>, or plain lines.
      </span>
    </label>
  );
}
