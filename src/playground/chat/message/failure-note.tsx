import { Fault } from '../../ui/fault.tsx';
import { go } from '../../ui/route.ts';
import type { Failure, Session } from '../session/session.ts';

const SPENT = ['billing_error', 'rate_limit_error'];

export function FailureNote({ failure: { asked, error }, session }: { failure: Failure; session: Session }) {
  return (
    <Fault text={error.message}>
      <p class="fault-kind">
        <code>{error.type}</code>
        {error.status !== undefined && <span>HTTP {error.status}</span>}
        {error.requestId !== undefined && <code>{error.requestId}</code>}
      </p>
      <p class="row">
        {asked !== undefined && (
          <button
            type="button"
            class="button small"
            onClick={() => {
              void session.send(asked);
            }}
          >
            Try again
          </button>
        )}
        {SPENT.includes(error.type) && (
          <button type="button" class="button small plain" onClick={() => go('budget')}>
            See the budget
          </button>
        )}
        <button type="button" class="button small plain" onClick={() => go('wire')}>
          See the wire
        </button>
      </p>
    </Fault>
  );
}
