/** Lets the keyboard reach boxes that scroll. */

const sizeObserver = new ResizeObserver((entries) => {
  for (const box of new Set(
    entries.map(({ target }) => (target.matches('.scroll-box') ? target : target.parentElement)),
  )) {
    if (box instanceof HTMLElement) updateTabIndex(box);
  }
});

/**
 * Keeps a box of the class `scroll-box` a stop of the Tab key while it has more than it shows, and only then.
 *
 * @returns what ends that
 */
export function keepScrollBoxFocusable(box: HTMLElement): () => void {
  const watched = [box, ...box.children];
  // Observe the sizes, which are then reported after layout. Reading them here would force a layout of the whole page for each
  // box.
  for (const element of watched) sizeObserver.observe(element);
  return () => {
    for (const element of watched) sizeObserver.unobserve(element);
  };
}

function updateTabIndex(box: HTMLElement): void {
  if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
  else box.removeAttribute('tabindex');
}
