import type { SluiceError } from '../../../client/index.ts';
import { SmallButton } from '../../ui/button.tsx';
import { useEverySecond } from '../../ui/every-second.ts';
import { Fault } from '../../ui/fault.tsx';
import { sayTimes } from '../../ui/format.ts';
import { go } from '../../ui/route.ts';
import { editDraft } from '../composer/draft.ts';
import type { Failure, Session } from '../session/session.ts';

const SPENT = ['billing_error', 'rate_limit_error'];
/** Who has to wait longer than this comes back by himself. */
const MOST_WAIT_SECONDS = 300;

/** Says what went wrong, and offers what can help against it. */
export function FailureNote({ failure, session }: { failure: Failure; session: Session }) {
  const { asked, error, at } = failure;
  const edit = () => {
    if (asked === undefined) return;
    editDraft(asked);
    session.failure.value = undefined;
  };
  return (
    <Fault text={sayTimes(error.message)}>
      <p class="quiet fault-kind">
        <code>{error.type}</code>
        {error.status !== undefined && <span>HTTP {error.status}</span>}
        {error.requestId !== undefined && <code>{error.requestId}</code>}
      </p>
      <p class="row">
        {canPass(error) && (
          <TryAgain notBefore={at + (error.retryAfter ?? 0) * 1_000} onClick={() => session.retry()} />
        )}
        {asked !== undefined && <SmallButton name="Edit" onClick={edit} />}
        {SPENT.includes(error.type) && <SmallButton name="Open Budget" onClick={() => go('budget')} />}
        <SmallButton name="Open Wire" onClick={() => go('wire')} />
      </p>
    </Fault>
  );
}

function TryAgain({ notBefore, onClick }: { notBefore: number; onClick(): Promise<void> }) {
  useEverySecond();
  const seconds = Math.ceil((notBefore - Date.now()) / 1_000);
  return (
    <SmallButton
      kind="first"
      name={seconds > 0 ? `Try again in ${seconds} s` : 'Try again'}
      disabled={seconds > 0}
      onClick={() => void onClick()}
    />
  );
}

/** @returns whether the same request may succeed soon: not one that is wrong, nor one for which there is no money */
function canPass({ type, status, retryAfter = 0, headers }: SluiceError): boolean {
  if (type === 'billing_error' || type === 'closed' || retryAfter > MOST_WAIT_SECONDS) return false;
  if (headers?.get('x-should-retry') === 'false' && status !== undefined && status < 500) return false;
  return status === undefined || status === 408 || status === 409 || status === 429 || status >= 500;
}
