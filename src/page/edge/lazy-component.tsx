import { signal } from '@preact/signals';
import type { ComponentType } from 'preact';
import { useEffect } from 'preact/hooks';
import { SmallButton } from '../ui/button.tsx';
import { FaultMessage } from '../ui/fault.tsx';
import { useAsyncAction } from './async-action.ts';

export type ComponentLoader = () => Promise<ComponentType>;

const loadedComponents = signal<ReadonlyMap<ComponentLoader, ComponentType>>(new Map());

/** Shows a component whose code is loaded when it is shown for the first time. */
export function LazyComponent({ load }: { load: ComponentLoader }) {
  const { fault, run } = useAsyncAction();
  const Shown = loadedComponents.value.get(load);
  const startLoading = () =>
    void run(async () => {
      const component = await load();
      loadedComponents.value = new Map(loadedComponents.peek()).set(load, component);
    });
  // biome-ignore lint/correctness/useExhaustiveDependencies: load each component once, when `load` changes.
  useEffect(() => {
    if (!Shown) startLoading();
  }, [load]);
  if (Shown) return <Shown />;
  if (fault.value === undefined) return null;
  return (
    <div class="page">
      <FaultMessage
        text={`This part of the page could not be loaded. Check your connection, then try again.\n${fault.value}`}
      >
        <p class="row">
          <SmallButton kind="first" name="Try again" onClick={startLoading} />
        </p>
      </FaultMessage>
    </div>
  );
}
