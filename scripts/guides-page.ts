/**
 * Runs in each guide and in the reference, before anything of it is shown: it has the theme of the page, its commands name the
 * origin at which it is read, and each block of code has a button that copies it. The list beside the reference is searched.
 */
import { applyTheme, readStoredTheme } from '../src/page/stored-theme.ts';

/** The origin that the guides are written with. */
const WRITTEN = 'http://localhost:8787';
const SAID_MS = 1_500;

const { dataset } = document.documentElement;

applyTheme(readStoredTheme());
// Hide the page until its addresses are replaced by this deployment's origin. Otherwise lines would move when their text
// changes.
dataset.unnamed = '';
document.addEventListener('DOMContentLoaded', () => {
  const main = document.querySelector('main');
  if (main) nameOrigin(main);
  delete dataset.unnamed;
  for (const code of document.querySelectorAll<HTMLElement>('.code code')) addCopyButton(code);
  const search = document.querySelector<HTMLInputElement>('nav input');
  if (search) filterList(search);
});

/**
 * Shows in the list only the guides that contain all words of the field. Enter opens the first one, and a click closes the
 * list.
 */
function filterList(search: HTMLInputElement): void {
  const nav = search.closest('nav');
  const links = [...(nav?.querySelectorAll('a') ?? [])].map((link) => ({
    link,
    text: document.getElementById(link.hash.slice(1))?.textContent.toLowerCase() ?? '',
  }));
  search.addEventListener('input', () => {
    const words = search.value.toLowerCase().split(/\s+/);
    let count = 0;
    for (const { link, text } of links) {
      const isFound = words.every((word) => text.includes(word));
      link.hidden = !isFound;
      if (isFound) count += 1;
    }
    nav?.querySelector('.found')?.replaceChildren(search.value.trim() === '' ? '' : `${count} found`);
  });
  search.addEventListener('keydown', ({ key }) => {
    if (key === 'Enter') links.find(({ link }) => !link.hidden)?.link.click();
  });
  nav?.addEventListener('click', ({ target }) => {
    if ((target as Element).closest('a')) nav.hidePopover();
  });
}

function nameOrigin(main: HTMLElement): void {
  const texts = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const { currentNode: text } = texts;
    if (text.nodeValue?.includes(WRITTEN)) text.nodeValue = text.nodeValue.replaceAll(WRITTEN, location.origin);
  }
  for (const link of main.querySelectorAll<HTMLAnchorElement>(`a[href^="${WRITTEN}"]`)) {
    link.href = link.href.replace(WRITTEN, location.origin);
  }
}

/** Adds it to the line above the code, which has space for it: nothing moves. */
function addCopyButton(code: HTMLElement): void {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'copy';
  const name = button.appendChild(new Text('Copy'));
  const announce = (said: string) => {
    name.data = said;
    document.querySelector('[role=status]')?.replaceChildren(said);
    setTimeout(() => {
      name.data = 'Copy';
    }, SAID_MS);
  };
  button.addEventListener('click', () => {
    // Browsers offer `navigator.clipboard` only over https and on localhost. Elsewhere, select the text, so that the reader can
    // copy it.
    const copied = navigator.clipboard?.writeText(code.textContent) ?? Promise.reject(new Error('no clipboard'));
    copied.then(
      () => announce('Copied'),
      () => {
        getSelection()?.selectAllChildren(code);
        announce('Press Ctrl+C');
      },
    );
  });
  code.closest('.code')?.querySelector('figcaption')?.append(button);
}
