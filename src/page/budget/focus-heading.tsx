import { useSignalEffect } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useRef } from 'preact/hooks';
import { focusTarget } from './figures/report.ts';

interface FocusHeadingProps {
  /** What `focusTarget` names it by: an account, a group, or the address of a list. Absent for one to which nothing leads. */
  target: string | undefined;
  id?: string;
  children: ComponentChildren;
}

/** Heads a view or a list. Whoever is led there arrives at it: it takes the focus. */
export function FocusHeading({ target: to, id, children }: FocusHeadingProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  useSignalEffect(() => {
    if (focusTarget.value === undefined || focusTarget.value !== to) return;
    focusTarget.value = undefined;
    heading.current?.scrollIntoView({ block: 'nearest' });
    heading.current?.focus({ preventScroll: true });
  });
  return (
    <h2 ref={heading} id={id} tabIndex={-1}>
      {children}
    </h2>
  );
}
