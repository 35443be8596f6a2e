/** Makes the answer for a browser at a path that does not exist. A person reads it, so it is a page. */
import { html } from 'hono/html';
import type { ApiError } from './errors.ts';

const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  // The style is the playground's. If a Worker does not serve it, the page is plain.
  'content-security-policy':
    "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; base-uri 'none'; frame-ancestors 'none'",
  vary: 'accept',
};

/** @returns whether a browser asks for a page to show: programs accept anything, or JSON. */
export function asksForPage({ method, headers }: Request): boolean {
  return (method === 'GET' || method === 'HEAD') && /\btext\/html\b/.test(headers.get('accept') ?? '');
}

/**
 * Makes a page that says what is wrong, with a way back.
 *
 * @param home where the way back leads: the root of the edge; undefined if nothing is there either
 */
export async function missingPage({ status, message }: ApiError, home: string | undefined): Promise<Response> {
  const back = home && html`<p><a href="${home}">Back to the start</a></p>`;
  const name = html`<img src="/page/icon.svg" alt="" width="24" height="24">Sluice`;
  const brand = home
    ? html`<a class="inline brand" href="${home}">${name}</a>`
    : html`<span class="inline brand">${name}</span>`;
  const page = await html`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Not found · Sluice</title>
<link rel="icon" href="/page/icon.svg" type="image/svg+xml">
<link rel="preload" href="/page/figtree.woff2" as="font" type="font/woff2" crossorigin>
<link rel="stylesheet" href="/page/first.css">
<link rel="stylesheet" href="/page/style.css">
<header class="top">${brand}</header>
<main class="page gate">
<h1>This page does not exist</h1>
<p class="lead-more">${message}</p>
${back}
</main>
</html>`;
  return new Response(String(page), { status, headers: PAGE_HEADERS });
}
