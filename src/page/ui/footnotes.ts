import markedFootnote from 'marked-footnote';
import type { MarkdownExtensionFactory } from './create-extension.ts';

/** Shows `[^1]` as a link to the text after `[^1]:`, which is moved to the end, with links back. */
export const createFootnotesExtension: MarkdownExtensionFactory = (prefixId) =>
  markedFootnote({ prefixId, sectionClass: '', headingClass: '' });
