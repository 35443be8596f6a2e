import { useSignal } from '@preact/signals';
import { takeToken } from './edge/client.ts';

/** Asks for a token and uses it. */
export function TokenForm({ onTaken = () => {} }: { onTaken?: () => void }) {
  const value = useSignal('');
  const submit = () => {
    const given = value.value.trim();
    if (given === '') return;
    onTaken();
    void takeToken(given);
  };
  return (
    <form
      class="stack"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <label class="labelled">
        Token
        <input
          type="password"
          autocomplete="off"
          spellcheck={false}
          required
          value={value.value}
          onInput={(event) => (value.value = event.currentTarget.value)}
        />
      </label>
      <p class="quiet">It is kept in this tab until you close it, and sent to this edge alone.</p>
      <button type="submit" class="button">
        Use it
      </button>
    </form>
  );
}
