import markedFootnote from 'marked-footnote';
import type { CreateExtension } from './create-extension.ts';

/** Shows `[^1]` as a link to what stands behind `[^1]:`, which comes last, with links back. */
export const createFootnotes: CreateExtension = (prefixId) =>
  markedFootnote({ prefixId, sectionClass: '', headingClass: '' });
