import { signal } from '@preact/signals';

/** Highlights code; undefined until it is loaded, which the first block of code starts. */
export const highlighter = signal<((code: string, language: string | undefined) => string | undefined) | undefined>(
  undefined,
);

/** Loads what colours code; the browser loads it once. Where that fails, code is shown without colours. */
export async function loadHighlighter(): Promise<void> {
  if (highlighter.peek()) return;
  try {
    highlighter.value = (await import('./highlight.ts')).highlightCode;
  } catch {
    // Ignore the error: the next code block tries to load the highlighter again.
  }
}
