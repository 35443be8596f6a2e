import DOMPurify from 'dompurify';

/** Attributes of lists, tables and formulas. */
const NO_ADDRESSES = [
  ...['start', 'align', 'display', 'mathvariant', 'stretchy', 'fence', 'separator', 'symmetric', 'largeop', 'accent'],
  ...['movablelimits', 'accentunder', 'displaystyle', 'scriptlevel', 'linethickness', 'lspace', 'rspace', 'minsize'],
  ...['maxsize', 'width', 'height', 'depth', 'voffset', 'columnalign', 'columnspacing', 'rowspacing', 'columnlines'],
  ...['rowlines', 'notation', 'mathcolor', 'mathbackground', 'encoding'],
];

/** Allows a model's HTML only text and its structure: nothing that loads, runs, submits, or imitates the page. */
const ALLOWED = {
  ALLOWED_TAGS: [
    ...['p', 'br', 'hr', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'blockquote', 'ul', 'ol', 'li', 'pre', 'code', 'span'],
    ...['em', 'strong', 'del', 's', 'a'],
    ...['table', 'thead', 'tbody', 'tr', 'th', 'td'],
    // Footnotes, and formulas.
    ...['sup', 'section'],
    ...['math', 'semantics', 'annotation', 'mrow', 'mi', 'mo', 'mn', 'ms', 'mtext', 'mspace', 'mstyle', 'mpadded'],
    ...['mphantom', 'mtable', 'mtr', 'mtd'],
    ...['msup', 'msub', 'msubsup', 'mfrac', 'msqrt', 'mroot', 'mover', 'munder', 'munderover', 'menclose'],
  ],
  ALLOWED_ATTR: ['href', 'class', 'title', 'id', ...NO_ADDRESSES],
  ALLOWED_URI_REGEXP: /^(?:(?:https?|mailto):|#note-)/i,
  // They need not look like one.
  ADD_URI_SAFE_ATTR: NO_ADDRESSES,
  RETURN_DOM_FRAGMENT: true as const,
};

DOMPurify.addHook('afterSanitizeAttributes', (node) => {
  // So that nothing in an answer is taken for an element of the page.
  if (!node.id.startsWith('note-')) node.removeAttribute('id');
  if (node.tagName === 'A' && !node.getAttribute('href')?.startsWith('#')) {
    node.setAttribute('target', '_blank');
    node.setAttribute('rel', 'noopener noreferrer');
  }
  // Only the classes of highlighting and of ticks stay, so that no answer can look like a part of the page.
  const classes = [...node.classList].filter((name) => name.startsWith('hljs') || name === 'tick');
  if (node.hasAttribute('class')) node.setAttribute('class', classes.join(' '));
});

/** @returns the nodes of HTML, reduced to text and its structure */
export function sanitize(html: string): DocumentFragment {
  return DOMPurify.sanitize(html, ALLOWED);
}
