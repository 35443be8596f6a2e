import { SmallButton } from '../../ui/button.tsx';
import { Fault } from '../../ui/fault.tsx';
import { go } from '../../ui/route.ts';
import type { Failure, Session } from '../session/session.ts';

const SPENT = ['billing_error', 'rate_limit_error'];

export function FailureNote({ failure: { asked, error }, session }: { failure: Failure; session: Session }) {
  return (
    <Fault text={error.message}>
      <p class="quiet fault-kind">
        <code>{error.type}</code>
        {error.status !== undefined && <span>HTTP {error.status}</span>}
        {error.requestId !== undefined && <code>{error.requestId}</code>}
      </p>
      <p class="row">
        {asked !== undefined && <SmallButton kind="first" name="Try again" onClick={() => void session.send(asked)} />}
        {SPENT.includes(error.type) && <SmallButton name="See the budget" onClick={() => go('budget')} />}
        <SmallButton name="See the wire" onClick={() => go('wire')} />
      </p>
    </Fault>
  );
}
