import { SmallButton } from '../ui/button.tsx';
import { Fault } from '../ui/fault.tsx';
import { pollNow } from './poll.ts';

/** Says why the figures are not up to date, and asks for them again. */
export function RetryFault({ text }: { text: string }) {
  return (
    <Fault text={text}>
      <p class="row">
        <SmallButton name="Retry" onClick={pollNow} />
      </p>
    </Fault>
  );
}
