import { useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';

interface TabsProps {
  label: string;
  tabs: readonly { name: string; content(): ComponentChildren }[];
}

/** Shows tabs for several views. Arrow keys go from one to the next. */
export function Tabs({ label, tabs }: TabsProps) {
  const chosen = useSignal(0);
  const id = useId();
  const move = (event: KeyboardEvent) => {
    const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
    if (step === 0) return;
    event.preventDefault();
    chosen.value = (chosen.value + step + tabs.length) % tabs.length;
    document.getElementById(`${id}-${chosen.value}`)?.focus();
  };
  return (
    <>
      <div class="tabs" role="tablist" aria-label={label} onKeyDown={move}>
        {tabs.map(({ name }, index) => (
          <button
            key={name}
            id={`${id}-${index}`}
            type="button"
            role="tab"
            aria-selected={index === chosen.value}
            aria-controls={`${id}-panel`}
            tabIndex={index === chosen.value ? 0 : -1}
            onClick={() => {
              chosen.value = index;
            }}
          >
            {name}
          </button>
        ))}
      </div>
      <div id={`${id}-panel`} role="tabpanel" aria-labelledby={`${id}-${chosen.value}`}>
        {tabs[chosen.value]?.content()}
      </div>
    </>
  );
}
