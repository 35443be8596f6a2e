import markedFootnote from 'marked-footnote';
import type { MarkdownExtensionFactory } from './create-extension.ts';

/** Shows `[^1]` as a link to what stands behind `[^1]:`, which comes last, with links back. */
export const createFootnotesExtension: MarkdownExtensionFactory = (prefixId) =>
  markedFootnote({ prefixId, sectionClass: '', headingClass: '' });
