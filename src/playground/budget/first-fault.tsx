import type { Signal } from '@preact/signals';
import { RetryFault } from '../edge/retry-fault.tsx';

/** Tells one fault of several: most often one reason has failed all of them. All are asked again. */
export function FirstFault({ of }: { of: readonly Signal<string | undefined>[] }) {
  const fault = of.find(({ value }) => value !== undefined)?.value;
  return fault === undefined ? null : <RetryFault text={fault} />;
}
