import { changeToken, connectionFault } from './edge/client.ts';
import { token } from './edge/credential.ts';
import { identity } from './edge/identity.ts';
import { Dialog } from './ui/dialog.tsx';
import { FaultMessage } from './ui/fault.tsx';
import { Field, Form, SubmitButton } from './ui/form.tsx';

/** Lets the user enter a token, and uses it. */
function TokenForm({ onTaken = () => {} }: { onTaken?: () => void }) {
  const applyEnteredToken = (data: FormData) => {
    const token = String(data.get('token')).trim();
    if (token === '') return;
    onTaken();
    void changeToken(token);
  };
  return (
    <Form onSubmit={applyEnteredToken}>
      <Field label="Token" note="The token stays in this tab until you close it, and is sent only to this deployment.">
        {(ids) => <input {...ids} name="token" type="password" autocomplete="off" spellcheck={false} required />}
      </Field>
      <SubmitButton name="Use this token" />
    </Form>
  );
}

export function TokenGate() {
  return (
    <div class="page gate">
      <h1>Enter your token</h1>
      <p class="lead-more">
        This deployment requires a token. Its operator creates one with <code>npm run token</code>.
      </p>
      {connectionFault.value && <FaultMessage text={connectionFault.value} />}
      <TokenForm />
    </div>
  );
}

export function TokenDialog({ onClose }: { onClose(): void }) {
  const { account, admin, operator } = identity.value;
  const removeToken = () => {
    onClose();
    void changeToken(undefined);
  };
  return (
    <Dialog title="Account" onClose={onClose}>
      <p>
        You are <strong>{account}</strong>
        {admin ? ', an admin' : operator ? ', who can read all accounts' : ''}
        {token.value === undefined ? '. In development mode no token is needed.' : '.'}
      </p>
      {token.value !== undefined && (
        <button type="button" class="button plain" onClick={removeToken}>
          Remove the token
        </button>
      )}
      <TokenForm onTaken={onClose} />
    </Dialog>
  );
}
