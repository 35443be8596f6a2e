import DOMPurify from 'dompurify';

/** Allows a model's HTML only text and its structure: nothing that loads, runs, submits, or imitates the page. */
const ALLOWED = {
  ALLOWED_TAGS: [
    ...['p', 'br', 'hr', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'blockquote', 'ul', 'ol', 'li', 'pre', 'code', 'span'],
    ...['em', 'strong', 'del', 's', 'a'],
    ...['table', 'thead', 'tbody', 'tr', 'th', 'td'],
  ],
  ALLOWED_ATTR: ['href', 'class', 'start', 'align', 'title'],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  // They are no addresses, so they need not look like one.
  ADD_URI_SAFE_ATTR: ['align', 'start'],
  RETURN_DOM_FRAGMENT: true as const,
};

DOMPurify.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName === 'A') {
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
