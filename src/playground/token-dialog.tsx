import { takeToken, token } from './edge/client.ts';
import { identity } from './edge/identity.ts';
import { TokenForm } from './token-form.tsx';
import { Dialog } from './ui/dialog.tsx';

export function TokenDialog({ onClose }: { onClose(): void }) {
  const { account, admin } = identity.value;
  return (
    <Dialog title="Account" onClose={onClose}>
      <p>
        You are <strong>{account}</strong>
        {admin ? ', an admin' : ''}
        {token.value === undefined ? '. In development mode no token is needed.' : '.'}
      </p>
      {token.value !== undefined && (
        <button
          type="button"
          class="button plain"
          onClick={() => {
            onClose();
            void takeToken(undefined);
          }}
        >
          Put the token away
        </button>
      )}
      <TokenForm onTaken={onClose} />
    </Dialog>
  );
}
