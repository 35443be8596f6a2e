import DOMPurify from 'dompurify';

/** Attributes of lists and tables. */
const NON_URL_ATTRIBUTES = ['start', 'align'];
/** The allowed classes, beside those of highlighted code, so that an answer cannot look like a part of the page. */
const ALLOWED_CLASSES = ['tick', 'formula', 'formula-block'];

/** Allows a model's HTML only text and its structure: nothing that loads, runs, submits, or imitates the page. */
const SANITIZE_OPTIONS = {
  ALLOWED_TAGS: [
    'p',
    'br',
    'hr',
    'h1',
    'h2',
    'h3',
    'h4',
    'h5',
    'h6',
    'blockquote',
    'ul',
    'ol',
    'li',
    'pre',
    'code',
    'span',
    'em',
    'strong',
    's',
    'a',
    'table',
    'thead',
    'tbody',
    'tr',
    'th',
    'td',
    // Footnotes use these elements.
    'sup',
    'section',
  ],
  ALLOWED_ATTR: ['href', 'class', 'title', 'id', ...NON_URL_ATTRIBUTES],
  ALLOWED_URI_REGEXP: /^(?:(?:https?|mailto):|#note-)/i,
  // DOMPurify checks all other attributes against `ALLOWED_URI_REGEXP`, which their values need not match.
  ADD_URI_SAFE_ATTR: NON_URL_ATTRIBUTES,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true as const,
};

DOMPurify.addHook('afterSanitizeAttributes', (node) => {
  // Remove ids, so that no element of an answer can be mistaken for one of the page.
  if (!node.id.startsWith('note-')) node.removeAttribute('id');
  if (node.tagName === 'A' && !node.getAttribute('href')?.startsWith('#')) {
    node.setAttribute('target', '_blank');
    node.setAttribute('rel', 'noopener noreferrer');
  }
  const classes = [...node.classList].filter((name) => name.startsWith('hljs') || ALLOWED_CLASSES.includes(name));
  if (node.hasAttribute('class')) node.setAttribute('class', classes.join(' '));
});

/** @returns the nodes of HTML, reduced to text and its structure */
export function sanitizeHtml(html: string): DocumentFragment {
  return DOMPurify.sanitize(html, SANITIZE_OPTIONS);
}
