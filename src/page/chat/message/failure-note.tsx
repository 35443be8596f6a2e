import type { SluiceError } from '../../../client/index.ts';
import { describeErrorForUser, formatErrorDetails } from '../../edge/error-messages.ts';
import { isRestricted } from '../../edge/identity.ts';
import { SmallButton } from '../../ui/button.tsx';
import { useEverySecond } from '../../ui/every-second.ts';
import { FaultMessage } from '../../ui/fault.tsx';
import { navigateToSection } from '../../ui/route.ts';
import { loadMessageIntoDraft } from '../composer/draft.ts';
import type { QuestionFailure } from '../session/outcomes.ts';
import type { Session } from '../session/session.ts';

const UNSENT_MESSAGE =
  'Not sent, because Sluice cannot be reached. Your message is kept here. Check your connection, then send it again.';
const SPENT_MESSAGE = ['billing_error', 'rate_limit_error'];
/** The longest wait, in seconds, for which the note offers a retry. After a longer one, the user returns later. */
const MAX_WAIT_SECONDS = 300;

/** Shows the error, and offers a remedy. */
export function FailureNote({ failure, session }: { failure: QuestionFailure; session: Session }) {
  const { question, error, failedAt: at, isCut } = failure;
  const unsent = question !== undefined && error.type === 'connection_error' && !failure.hasArrived;
  const sentence = `${unsent ? UNSENT_MESSAGE : describeErrorForUser(error)}${isCut ? ' The end of the text that you saw is not stored.' : ''}`;
  const editFailedQuestion = () => {
    if (question === undefined) return;
    loadMessageIntoDraft(question);
    session.failure.value = undefined;
  };
  return (
    <FaultMessage text={`${sentence}\n${formatErrorDetails(error)}`}>
      <p class="row">
        {isRetryableError(error) && (
          <RetryButton
            name={unsent ? 'Send again' : 'Try again'}
            notBefore={at + (error.retryAfter ?? 0) * 1_000}
            onClick={() => session.retryFailedQuestion()}
          />
        )}
        {question !== undefined && <SmallButton name="Edit" onClick={editFailedQuestion} />}
        {SPENT_MESSAGE.includes(error.type) && !isRestricted() && (
          <SmallButton name="Open Budget" onClick={() => navigateToSection('budget')} />
        )}
        <SmallButton name="Open Inspector" onClick={() => navigateToSection('wire')} />
      </p>
    </FaultMessage>
  );
}

function RetryButton({ name, notBefore, onClick }: { name: string; notBefore: number; onClick(): Promise<void> }) {
  useEverySecond();
  const seconds = Math.ceil((notBefore - Date.now()) / 1_000);
  return (
    <SmallButton
      kind="first"
      name={seconds > 0 ? `${name} in ${seconds} s` : name}
      disabled={seconds > 0}
      onClick={() => void onClick()}
    />
  );
}

/** @returns whether the same request may succeed soon: not one that is wrong, nor one for which there is no money */
function isRetryableError({ type, status, retryAfter = 0, headers }: SluiceError): boolean {
  if (type === 'billing_error' || type === 'closed' || retryAfter > MAX_WAIT_SECONDS) return false;
  if (headers?.get('x-should-retry') === 'false' && status !== undefined && status < 500) return false;
  return status === undefined || status === 408 || status === 409 || status === 429 || status >= 500;
}
