import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef } from 'preact/hooks';
import { Icon, type IconName } from './icon.tsx';

interface PopoverProps {
  icon: IconName;
  name: string;
  /** How many of the settings inside differ from how they begin. */
  changed: number;
  children: ComponentChildren;
}

const GAP_PX = 8;
const WIDTH_PX = 300;

/** Shows a button, and above it what the button opens. Escape, or a click beside it, closes it. */
export function Popover({ icon, name, changed, children }: PopoverProps) {
  const id = useId();
  const button = useRef<HTMLButtonElement>(null);
  const panel = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const opened = panel.current;
    // It has the window as its frame, so it is told where its button is.
    const position = () => {
      const frame = button.current?.getBoundingClientRect();
      if (!opened || !frame) return;
      opened.style.bottom = `${innerHeight - frame.top + GAP_PX}px`;
      opened.style.left = `${Math.max(GAP_PX, Math.min(frame.left, innerWidth - WIDTH_PX - GAP_PX))}px`;
      opened.style.width = `${WIDTH_PX}px`;
    };
    opened?.addEventListener('beforetoggle', position);
    addEventListener('resize', position);
    return () => {
      opened?.removeEventListener('beforetoggle', position);
      removeEventListener('resize', position);
    };
  }, []);
  return (
    <>
      <button ref={button} type="button" class="field-button" popovertarget={id}>
        <Icon name={icon} />
        <span class="field-button-name">{name}</span>
        {changed > 0 && <span class="count">{changed}</span>}
      </button>
      <dialog ref={panel} id={id} popover="auto" class="popover" aria-label={name}>
        {children}
      </dialog>
    </>
  );
}
