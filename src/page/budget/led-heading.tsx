import { useSignalEffect } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useRef } from 'preact/hooks';
import { ledTo } from './figures/report.ts';

interface LedHeadingProps {
  /** What `ledTo` names it by: an account, a group, or the address of a list. Absent for one to which nothing leads. */
  to: string | undefined;
  id?: string;
  children: ComponentChildren;
}

/** Heads a view or a list. Whoever is led there arrives at it: it takes the focus. */
export function LedHeading({ to, id, children }: LedHeadingProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  useSignalEffect(() => {
    if (ledTo.value === undefined || ledTo.value !== to) return;
    ledTo.value = undefined;
    heading.current?.scrollIntoView({ block: 'nearest' });
    heading.current?.focus({ preventScroll: true });
  });
  return (
    <h2 ref={heading} id={id} tabIndex={-1}>
      {children}
    </h2>
  );
}
