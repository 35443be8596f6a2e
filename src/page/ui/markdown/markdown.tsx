import { signal } from '@preact/signals';
import type { ComponentType } from 'preact';
import { useEffect } from 'preact/hooks';

type View = ComponentType<{ text: string }>;

/** Shows Markdown; undefined until it is loaded, which the first text starts. */
const view = signal<{ View: View } | 'failed' | undefined>(undefined);

/** Loads what shows Markdown; the browser loads it once. Where that fails, texts are shown as written. */
export async function loadMarkdown(): Promise<void> {
  if (typeof view.peek() === 'object') return;
  try {
    view.value = { View: (await import('./view.tsx')).MarkdownView };
  } catch {
    // Ignore the error: the next text tries to load it again.
    view.value = 'failed';
  }
}

/** Shows the text of a model, which may still grow. */
export function Markdown({ text }: { text: string }) {
  useEffect(() => void loadMarkdown(), []);
  if (view.value === undefined) return null;
  if (view.value === 'failed') {
    return (
      <p class="typed" dir="auto">
        {text}
      </p>
    );
  }
  const { View } = view.value;
  return <View text={text} />;
}
