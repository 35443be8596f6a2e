import DOMPurify from 'dompurify';

/** What a model may write: text and its structure. Nothing that loads, runs, asks, or looks like the page's own. */
const ALLOWED = {
  ALLOWED_TAGS: [
    ...['p', 'br', 'hr', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'blockquote', 'ul', 'ol', 'li', 'pre', 'code', 'span'],
    ...['em', 'strong', 'del', 's', 'a'],
    ...['table', 'thead', 'tbody', 'tr', 'th', 'td'],
  ],
  ALLOWED_ATTR: ['href', 'class', 'start', 'align', 'title'],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  RETURN_DOM_FRAGMENT: true,
} as const;

DOMPurify.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName === 'A') {
    node.setAttribute('target', '_blank');
    node.setAttribute('rel', 'noopener noreferrer');
  }
  // Of classes those of highlighting alone: no answer dresses up as a part of the page.
  const classes = [...node.classList].filter((name) => name.startsWith('hljs'));
  if (node.hasAttribute('class')) node.setAttribute('class', classes.join(' '));
});

/** @returns the nodes of some HTML, without anything in it that is not text or its structure. */
export function sanitize(html: string): DocumentFragment {
  return DOMPurify.sanitize(html, {
    ...ALLOWED,
    ALLOWED_TAGS: [...ALLOWED.ALLOWED_TAGS],
    ALLOWED_ATTR: [...ALLOWED.ALLOWED_ATTR],
  });
}
