import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef } from 'preact/hooks';
import { Icon, type IconName } from './icon.tsx';

interface PopoverProps {
  icon: IconName;
  name: string;
  /** How many of the settings inside differ from how they begin. */
  changed?: number;
  /** Whether it is a menu: its button has no words, and it closes when something in it is chosen. */
  isMenu?: boolean;
  children: ComponentChildren;
}

const GAP_PX = 8;
const WIDTH_PX = 300;
const MENU_WIDTH_PX = 176;

/** Shows a button, and above or below it what the button opens. Escape, or a click beside it, closes it. */
export function Popover({ icon, name, changed = 0, isMenu = false, children }: PopoverProps) {
  const id = useId();
  const button = useRef<HTMLButtonElement>(null);
  const panel = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const opened = panel.current;
    // A popover is positioned relative to the window, so compute its position from that of the button.
    const positionPopover = () => {
      const frame = button.current?.getBoundingClientRect();
      if (!opened || !frame) return;
      const width = isMenu ? MENU_WIDTH_PX : WIDTH_PX;
      const isAbove = frame.top > innerHeight / 2;
      opened.style.bottom = isAbove ? `${innerHeight - frame.top + GAP_PX}px` : 'auto';
      opened.style.top = isAbove ? 'auto' : `${frame.bottom + GAP_PX}px`;
      opened.style.left = `${Math.max(GAP_PX, Math.min(frame.left, innerWidth - width - GAP_PX))}px`;
      opened.style.width = `${width}px`;
    };
    opened?.addEventListener('beforetoggle', positionPopover);
    addEventListener('resize', positionPopover);
    return () => {
      opened?.removeEventListener('beforetoggle', positionPopover);
      removeEventListener('resize', positionPopover);
    };
  }, [isMenu]);
  return (
    <>
      <button
        ref={button}
        type="button"
        class={isMenu ? 'icon-button' : 'field-button'}
        aria-label={isMenu ? name : undefined}
        title={isMenu ? name : undefined}
        popovertarget={id}
      >
        <Icon name={icon} />
        {!isMenu && <span class="field-button-name">{name}</span>}
        {changed > 0 && <span class="count">{changed}</span>}
      </button>
      {/* biome-ignore lint/a11y/useKeyWithClickEvents: it handles the clicks of its buttons, which the keyboard can activate too. */}
      <dialog
        ref={panel}
        id={id}
        popover="auto"
        class={isMenu ? 'popover menu' : 'popover'}
        aria-label={name}
        onClick={() => isMenu && panel.current?.hidePopover()}
      >
        {children}
      </dialog>
    </>
  );
}
