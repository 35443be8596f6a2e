import markedFootnote from 'marked-footnote';
import type { MakeExtension } from './make-extension.ts';

/** Shows `[^1]` as a link to what stands behind `[^1]:`, which comes last, with links back. */
export const footnotes: MakeExtension = (prefixId) => markedFootnote({ prefixId, sectionClass: '', headingClass: '' });
