import { CheckboxChip, Form, Select, SubmitButton, TextArea } from '../ui/form.tsx';
import { allowNone, busy, classifiers, formText, labels, multi, run, store, stored } from './form.ts';

export function ClassifyForm() {
  const inline = stored.value === '';
  return (
    <section class="stack" aria-label="Text and labels">
      <Form id="classify" onSubmit={() => void run()}>
        <TextArea label="Text" rows={4} placeholder="The text to classify" value={formText} />
        <label class="labelled">
          Classifier
          <Select
            value={stored.value}
            options={[['', 'The labels below'], ...classifiers.value.map(({ name }) => name)]}
            onChoose={(name) => (stored.value = name)}
          />
        </label>
        {inline && (
          <>
            <TextArea
              label="Labels"
              rows={5}
              placeholder={'billing: invoices and refunds\nbug: something is broken'}
              value={labels}
            />
            <p class="row">
              <CheckboxChip name="Allow several" value={multi} />
              <CheckboxChip name="Allow none" value={allowNone} />
            </p>
          </>
        )}
        <p class="row">
          <SubmitButton name="Classify" disabled={busy.value} />
        </p>
      </Form>
      {inline && labels.value.trim() !== '' && <StoreForm />}
    </section>
  );
}

/** Asks for a name, and stores the labels as a classifier. */
function StoreForm() {
  return (
    <Form class="store-form" onSubmit={(data) => void store(String(data.get('name')).trim())}>
      <input
        name="name"
        aria-label="Name of the classifier"
        placeholder="A name, such as tickets"
        required
        maxLength={64}
        autocomplete="off"
      />
      <SubmitButton name="Store labels" kind="plain" />
    </Form>
  );
}
