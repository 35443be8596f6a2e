import { useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';

interface TabsProps {
  label: string;
  tabs: readonly { name: string; renderContent(): ComponentChildren }[];
  /** Which one is shown, where it is kept elsewhere: in the URL. */
  shown?: number;
  /** Called with the index of the chosen tab. */
  onChoose?(index: number): void;
}

/** Shows tabs for several views. Arrow keys go from one to the next. */
export function Tabs({ label, tabs, shown, onChoose }: TabsProps) {
  const own = useSignal(0);
  const id = useId();
  const at = shown ?? own.value;
  const chooseTab = (index: number) => {
    own.value = index;
    onChoose?.(index);
  };
  const moveTabFocus = (event: KeyboardEvent) => {
    const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
    if (step === 0) return;
    event.preventDefault();
    const next = (at + step + tabs.length) % tabs.length;
    chooseTab(next);
    document.getElementById(`${id}-${next}`)?.focus();
  };
  return (
    <>
      <div class="tabs" role="tablist" aria-label={label} onKeyDown={moveTabFocus}>
        {tabs.map(({ name }, index) => (
          <button
            key={name}
            id={`${id}-${index}`}
            type="button"
            role="tab"
            aria-selected={index === at}
            aria-controls={`${id}-panel`}
            tabIndex={index === at ? 0 : -1}
            onClick={() => chooseTab(index)}
          >
            {name}
          </button>
        ))}
      </div>
      <div id={`${id}-panel`} role="tabpanel" aria-labelledby={`${id}-${at}`}>
        {tabs[at]?.renderContent()}
      </div>
    </>
  );
}
