import { type Signal, useSignal } from '@preact/signals';

/** Takes files that are dropped on an element. @returns the element's properties, of which `data-over` says that some hover */
export function useFileDrop(take: (files: FileList) => void) {
  const over: Signal<boolean> = useSignal(false);
  return {
    'data-over': over.value,
    onDragOver: (event: DragEvent) => {
      event.preventDefault();
      over.value = true;
    },
    onDragLeave: () => {
      over.value = false;
    },
    onDrop: (event: DragEvent) => {
      event.preventDefault();
      over.value = false;
      if (event.dataTransfer) take(event.dataTransfer.files);
    },
  };
}
