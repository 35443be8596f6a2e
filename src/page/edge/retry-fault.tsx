import type { Signal } from '@preact/signals';
import { SmallButton } from '../ui/button.tsx';
import { FaultMessage } from '../ui/fault.tsx';
import { refreshAllPolls } from './poll.ts';

/** Explains why the figures are not up to date, with a button to read them again. */
export function StaleDataFault({ text }: { text: string }) {
  return (
    <FaultMessage text={text}>
      <p class="row">
        <SmallButton name="Retry" onClick={refreshAllPolls} />
      </p>
    </FaultMessage>
  );
}

/** Explains why one part of a view is not up to date, while the other parts may be. */
export function StalePartFault({ name, fault: { value } }: { name: string; fault: Signal<string | undefined> }) {
  return value === undefined ? null : <StaleDataFault text={`${name} cannot be read. ${value}`} />;
}

/** Shows only the first of several errors, which mostly have the same cause. Retrying repeats all of their requests. */
export function FirstOfFaults({ of: faults }: { of: readonly Signal<string | undefined>[] }) {
  const fault = faults.find(({ value }) => value !== undefined)?.value;
  return fault === undefined ? null : <StaleDataFault text={fault} />;
}
