/** Loads what few texts need: formulas and footnotes. */
import { signal } from '@preact/signals';
import type { MakeExtension } from './make-extension.ts';

let finish: ((nodes: ParentNode) => void) | undefined;

/** What of Markdown is loaded with the first text that needs it. */
const RARE: readonly { sign: RegExp; load(): Promise<MakeExtension> }[] = [
  {
    // Money is none: behind the first dollar stands no space, before the second neither, and behind that no digit.
    sign: /\$\$|\\[([]|(?<![\w\\$])\$(?![\s$])(?:[^$\\\n]|\\.)*(?<!\s)\$(?![\w$])/,
    load: async () => {
      const { formulas, setFormulas } = await import('./formulas.ts');
      finish = setFormulas;
      return formulas;
    },
  },
  { sign: /^ {0,3}\[\^[^\]\n]+\]:/m, load: async () => (await import('./footnotes.ts')).footnotes },
];
const extensions = signal<ReadonlyMap<RegExp, MakeExtension>>(new Map());

/** @returns the extensions that a text needs, as far as they are loaded; the others are, and then who asked is told */
export function extensionsFor(text: string): readonly MakeExtension[] {
  const needed = RARE.filter(({ sign }) => sign.test(text));
  if (needed.length === 0) return [];
  for (const { sign, load } of needed) {
    if (extensions.value.has(sign)) continue;
    load().then(
      (extension) => {
        if (!extensions.peek().has(sign)) extensions.value = new Map(extensions.peek()).set(sign, extension);
      },
      // The text is shown as it was written. The next rendering tries again.
      () => {},
    );
  }
  return needed.flatMap(({ sign }) => extensions.value.get(sign) ?? []);
}

/** Does with the sanitized nodes of a text what its extensions leave to do. */
export function finishText(nodes: ParentNode): void {
  finish?.(nodes);
}
