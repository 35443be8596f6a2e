/** Loads what few texts need: formulas and footnotes. */
import { signal } from '@preact/signals';
import type { CreateExtension } from './create-extension.ts';

let finish: ((nodes: ParentNode) => void) | undefined;

/** What of Markdown is loaded with the first text that needs it. */
const LAZY_EXTENSIONS: readonly { sign: RegExp; load(): Promise<CreateExtension> }[] = [
  {
    // Money is none: behind the first dollar stands no space, before the second neither, and behind that no digit.
    sign: /\$\$|\\[([]|(?<![\w\\$])\$(?![\s$])(?:[^$\\\n]|\\.)*(?<!\s)\$(?![\w$])/,
    load: async () => {
      const { createFormulas, renderFormulas } = await import('./formulas.ts');
      finish = renderFormulas;
      return createFormulas;
    },
  },
  { sign: /^ {0,3}\[\^[^\]\n]+\]:/m, load: async () => (await import('./footnotes.ts')).createFootnotes },
];
const loadedExtensions = signal<ReadonlyMap<RegExp, CreateExtension>>(new Map());

/** @returns the extensions that a text needs, as far as they are loaded; the others are, and then who asked is told */
export function getExtensions(text: string): readonly CreateExtension[] {
  const needed = LAZY_EXTENSIONS.filter(({ sign }) => sign.test(text));
  if (needed.length === 0) return [];
  for (const { sign, load } of needed) {
    if (loadedExtensions.value.has(sign)) continue;
    load().then(
      (extension) => {
        if (!loadedExtensions.peek().has(sign))
          loadedExtensions.value = new Map(loadedExtensions.peek()).set(sign, extension);
      },
      // The text is shown as it was written. The next rendering tries again.
      () => {},
    );
  }
  return needed.flatMap(({ sign }) => loadedExtensions.value.get(sign) ?? []);
}

/** Does with the sanitized nodes of a text what its extensions leave to do. */
export function finishText(nodes: ParentNode): void {
  finish?.(nodes);
}
