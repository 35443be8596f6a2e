import { CheckboxChip } from '../ui/chip.tsx';
import { allowNone, busy, classifiers, formText, labels, multi, run, store, stored } from './form.ts';
import { StoreForm } from './store-form.tsx';

export function ClassifyForm() {
  const inline = stored.value === '';
  return (
    <section class="stack" aria-label="What is classified">
      <form
        id="classify"
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void run();
        }}
      >
        <label class="labelled">
          Text
          <textarea
            rows={4}
            required
            placeholder="What is to be sorted"
            value={formText.value}
            onInput={(event) => (formText.value = event.currentTarget.value)}
          />
        </label>
        <label class="labelled">
          Classifier
          <select
            value={stored.value}
            onChange={(event) => {
              stored.value = event.currentTarget.value;
            }}
          >
            <option value="">The labels below</option>
            {classifiers.value.map(({ name }) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
        {inline && (
          <>
            <label class="labelled">
              Labels
              <textarea
                rows={5}
                required
                placeholder={'billing: invoices and refunds\nbug: something is broken'}
                value={labels.value}
                onInput={(event) => (labels.value = event.currentTarget.value)}
              />
            </label>
            <p class="row">
              <CheckboxChip name="Several may hold" value={multi} />
              <CheckboxChip name="None may hold" value={allowNone} />
            </p>
          </>
        )}
        <p class="row">
          <button type="submit" class="button" disabled={busy.value}>
            Classify
          </button>
        </p>
      </form>
      {inline && labels.value.trim() !== '' && <StoreForm store={store} />}
    </section>
  );
}
