/** Loads what few texts need: formulas and footnotes. */
import { signal } from '@preact/signals';
import type { MarkdownExtensionFactory } from './create-extension.ts';

let finish: ((nodes: ParentNode) => void) | undefined;

/** The Markdown extensions that are loaded with the first text that needs them. */
const LAZY_EXTENSIONS: readonly { sign: RegExp; loadExtension(): Promise<MarkdownExtensionFactory> }[] = [
  {
    // Do not match amounts of money: no space may follow the first dollar sign or precede the second, and no digit may follow
    // the second.
    sign: /\$\$|\\[([]|(?<![\w\\$])\$(?![\s$])(?:[^$\\\n]|\\.)*(?<!\s)\$(?![\w$])/,
    loadExtension: async () => {
      const { createFormulasExtension: createFormulas, renderFormulasInNodes: renderFormulas } = await import(
        './formulas.ts'
      );
      finish = renderFormulas;
      return createFormulas;
    },
  },
  {
    sign: /^ {0,3}\[\^[^\]\n]+\]:/m,
    loadExtension: async () => (await import('./footnotes.ts')).createFootnotesExtension,
  },
];
const loadedExtensions = signal<ReadonlyMap<RegExp, MarkdownExtensionFactory>>(new Map());

/**
 * @returns the extensions that a text needs, if they are loaded. Loading the others updates a signal, so the caller renders
 * again
 */
export function getLoadedExtensions(text: string): readonly MarkdownExtensionFactory[] {
  const needed = LAZY_EXTENSIONS.filter(({ sign }) => sign.test(text));
  if (needed.length === 0) return [];
  for (const { sign, loadExtension: load } of needed) {
    if (loadedExtensions.value.has(sign)) continue;
    load().then(
      (extension) => {
        if (!loadedExtensions.peek().has(sign))
          loadedExtensions.value = new Map(loadedExtensions.peek()).set(sign, extension);
      },
      // If the extension cannot be loaded, the source stays visible. The next rendering tries again.
      () => {},
    );
  }
  return needed.flatMap(({ sign }) => loadedExtensions.value.get(sign) ?? []);
}

/** Applies the remaining work of extensions to the sanitized nodes of a text. */
export function applyExtensionsToNodes(nodes: ParentNode): void {
  finish?.(nodes);
}
