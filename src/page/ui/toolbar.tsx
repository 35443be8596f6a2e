import type { ComponentChildren } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';

const KEY_STEPS: Record<string, number> = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };

/** Shows buttons of which one is a stop for Tab: the arrow keys go to the others. */
export function Toolbar({ label, children }: { label: string; children: ComponentChildren }) {
  const ref = useRef<HTMLDivElement>(null);
  const getEnabledButtons = () => [...(ref.current?.querySelectorAll<HTMLButtonElement>('button:enabled') ?? [])];
  const setTabStopButton = (stop: HTMLButtonElement | undefined) => {
    for (const button of ref.current?.querySelectorAll('button') ?? []) button.tabIndex = button === stop ? 0 : -1;
  };
  // Run after each rendering: the button that Tab reaches may now be disabled or removed.
  useLayoutEffect(() => {
    const buttons = getEnabledButtons();
    setTabStopButton(buttons.find((button) => button === document.activeElement) ?? buttons[0]);
  });
  const onKeyDown = (event: KeyboardEvent) => {
    const step = KEY_STEPS[event.key];
    if (step === undefined) return;
    const buttons = getEnabledButtons();
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    const next = buttons[(at + step + buttons.length) % buttons.length];
    setTabStopButton(next);
    next?.focus();
    event.preventDefault();
  };
  return (
    <div ref={ref} class="toolbar" role="toolbar" aria-label={label} onKeyDown={onKeyDown}>
      {children}
    </div>
  );
}
