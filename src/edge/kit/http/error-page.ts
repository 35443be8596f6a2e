/** Makes the answer for a browser at a path that does not exist. A person reads it, so it is a page. */
import type { ApiError } from './errors.ts';

const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  // Allow only the page's own stylesheet and images. If the Worker does not serve the page, the error page is shown without
  // styles.
  'content-security-policy':
    "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; base-uri 'none'; frame-ancestors 'none'",
  vary: 'accept',
};

/** @returns whether a browser asks for a page to show: programs accept anything, or JSON. */
export function isBrowserPageRequest({ method, headers }: Request): boolean {
  return (method === 'GET' || method === 'HEAD') && /\btext\/html\b/.test(headers.get('accept') ?? '');
}

/**
 * Creates a page that explains the error, with a link back.
 *
 * @param home the target of the link: the root of the edge; undefined if there is no page either
 */
export function createHtmlErrorPage({ status, message }: ApiError, home: string | undefined): Response {
  const [link, tag] = home ? [`a href="${escapeForHtml(home)}"`, 'a'] : ['span', 'span'];
  const page = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Not found · Sluice</title>
<link rel="icon" href="/page/icon.svg" type="image/svg+xml">
<link rel="preload" href="/page/figtree.woff2" as="font" type="font/woff2" crossorigin>
<link rel="stylesheet" href="/page/first.css">
<link rel="stylesheet" href="/page/style.css">
<header class="top"><${link} class="inline brand"><img src="/page/icon.svg" alt="" width="24" height="24">Sluice</${tag}></header>
<main class="page gate">
<h1>This page does not exist</h1>
<p class="lead-more">${escapeForHtml(message)}</p>
${home ? `<p><${link}>Back to the start</a></p>` : ''}
</main>
</html>`;
  return new Response(page, { status, headers: PAGE_HEADERS });
}

function escapeForHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
