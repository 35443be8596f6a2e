import { useSignalEffect } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useRef } from 'preact/hooks';
import { focusTarget } from './figures/report.ts';

interface FocusHeadingProps {
  /**
   * The value of `focusTarget` for this heading: an account, a group, or the address of a list. Absent if no link leads to it.
   */
  target: string | undefined;
  id?: string;
  children: ComponentChildren;
}

/** The heading of a view or a list. A link to it moves the focus to it. */
export function FocusHeading({ target: to, id, children }: FocusHeadingProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  /** Whether a link has led here. Then the heading must be visible before the parts above it are loaded. */
  const isLinkTarget = useRef(false);
  isLinkTarget.current ||= to !== undefined && focusTarget.peek() === to;
  useSignalEffect(() => {
    if (focusTarget.value === undefined || focusTarget.value !== to) return;
    focusTarget.value = undefined;
    heading.current?.scrollIntoView({ block: 'nearest' });
    heading.current?.focus({ preventScroll: true });
  });
  return (
    <h2 ref={heading} id={id} class={isLinkTarget.current ? 'link-target' : undefined} tabIndex={-1}>
      {children}
    </h2>
  );
}
