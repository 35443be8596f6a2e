import type { TargetedMouseEvent } from 'preact';
import { memo } from 'preact/compat';
import { useEffect, useLayoutEffect, useMemo, useReducer, useRef } from 'preact/hooks';
import { Code } from '../code.tsx';
import { sanitizeHtml } from '../sanitize.ts';
import { keepScrollBoxFocusable } from '../scroll-box.ts';
import { MarkdownBlockSplitter } from './blocks.ts';

/** How many characters are read before the browser may do something else. Sanitizing their nodes takes most of the time. */
const CHARACTERS_PER_TASK = 3_000;

let renderFormulas: ((formulas: readonly Element[]) => void) | undefined;

/** Shows the text of a model, which may still grow. */
export function MarkdownView({ text }: { text: string }) {
  const splitter = useMemo(() => new MarkdownBlockSplitter(), []);
  const [, renderMore] = useReducer((count: number) => count + 1, 0);
  const { blocks, isComplete } = splitter.splitIntoBlocks(text, CHARACTERS_PER_TASK);
  useEffect(() => {
    if (isComplete) return;
    const timer = setTimeout(renderMore);
    return () => clearTimeout(timer);
  });
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions lint/a11y/useKeyWithClickEvents: it handles the clicks of its links, which the keyboard can activate too.
    <div class="markdown" onClick={scrollToFootnote}>
      {blocks.map((block, index) =>
        block.kind === 'code' ? (
          // biome-ignore lint/suspicious/noArrayIndexKey: blocks are only appended, so an index stays the same.
          <Code key={index} code={block.code} language={block.language} />
        ) : (
          // biome-ignore lint/suspicious/noArrayIndexKey: blocks are only appended, so an index stays the same.
          <Prose key={index} html={block.html} />
        ),
      )}
    </div>
  );
}

const Prose = memo(({ html }: { html: string }) => {
  const ref = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const nodes = sanitizeHtml(html);
    setFormulas([...nodes.querySelectorAll('.formula, .formula-block')]);
    const wide = [...nodes.querySelectorAll<HTMLElement>('table, .formula-block')].map(wrapInScrollBox);
    ref.current?.replaceChildren(nodes);
    const stops = wide.map(keepScrollBoxFocusable);
    return () => {
      for (const stop of stops) stop();
    };
  }, [html]);
  return <div ref={ref} class="prose" dir="auto" />;
});

/** Sets formulas. What that needs is loaded with the first one. */
function setFormulas(formulas: readonly Element[]): void {
  if (formulas.length === 0) return;
  // Once it is loaded, set them at once, so that they do not flicker while the text grows.
  if (renderFormulas) renderFormulas(formulas);
  else
    import('./formulas.ts').then(
      (loaded) => {
        renderFormulas = loaded.renderFormulas;
        renderFormulas(formulas);
      },
      // Ignore the error: the formulas stay visible as source text, and the next ones load it again.
      () => {},
    );
}

/** Wraps an element that may be wider than its column in a box that scrolls. */
function wrapInScrollBox(wide: HTMLElement): HTMLElement {
  const box = document.createElement('div');
  box.className = 'scroll-box';
  box.role = 'group';
  const heads = [...wide.querySelectorAll('th')].map(({ textContent }) => textContent.trim());
  box.ariaLabel = wide.tagName === 'TABLE' ? `Table: ${heads.join(', ').slice(0, 80)}` : 'Formula';
  wide.replaceWith(box);
  box.append(wide);
  return box;
}

/** Scrolls to a footnote, or back. The address of the page stays, because it names the conversation. */
function scrollToFootnote(event: TargetedMouseEvent<HTMLElement>): void {
  const href = (event.target as Element).closest('a')?.getAttribute('href');
  if (!href?.startsWith('#')) return;
  event.preventDefault();
  const target = event.currentTarget.querySelector<HTMLElement>(`#${CSS.escape(href.slice(1))}`);
  if (!target) return;
  // With a `tabIndex` of -1, a script can focus the footnote, but Tab skips it. Tab reaches the links in it.
  if (target.tagName !== 'A') target.tabIndex = -1;
  target.focus({ preventScroll: true });
  target.scrollIntoView({ block: 'nearest' });
}
