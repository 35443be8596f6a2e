import type { MarkedExtension } from 'marked';

/** @param prefix what ids in the text begin with */
export type MarkdownExtensionFactory = (prefix: string) => MarkedExtension;
