import { useSignal } from '@preact/signals';

/** Asks for a name, and stores the labels as a classifier. */
export function StoreForm({ store }: { store(name: string): Promise<boolean> }) {
  const name = useSignal('');
  return (
    <form
      class="store-form"
      onSubmit={(event) => {
        event.preventDefault();
        void store(name.value.trim());
      }}
    >
      <input
        aria-label="Name of the classifier"
        placeholder="Name, such as tickets"
        required
        maxLength={64}
        autocomplete="off"
        value={name.value}
        onInput={(event) => (name.value = event.currentTarget.value)}
      />
      <button type="submit" class="button plain">
        Store these labels
      </button>
    </form>
  );
}
