import { refusal } from './edge/client.ts';
import { TokenForm } from './token-form.tsx';
import { Fault } from './ui/fault.tsx';

export function TokenGate() {
  return (
    <div class="page gate">
      <h1>A token, please</h1>
      <p class="lead-more">
        This edge answers who holds one of its tokens. Its operator mints them with <code>npm run token</code>.
      </p>
      {refusal.value && <Fault text={refusal.value} />}
      <TokenForm />
    </div>
  );
}
