import type { Signal } from '@preact/signals';
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

/** Tells one fault of several: most often one reason has failed all of them. All are asked again. */
export function FirstFault({ of }: { of: readonly Signal<string | undefined>[] }) {
  const fault = of.find(({ value }) => value !== undefined)?.value;
  return fault === undefined ? null : <RetryFault text={fault} />;
}
