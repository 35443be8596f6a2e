import type { TargetedMouseEvent } from 'preact';
import { memo } from 'preact/compat';
import { useLayoutEffect, useMemo, useRef } from 'preact/hooks';
import { Code } from './code.tsx';
import { MarkdownBlockSplitter } from './markdown-blocks.ts';
import { applyExtensionsToNodes } from './markdown-extensions.ts';
import { sanitizeHtml } from './sanitize.ts';
import { keepScrollBoxFocusable } from './scroll-box.ts';

/** Shows the text of a model, which may still grow. */
export function Markdown({ text }: { text: string }) {
  const blocks = useMemo(() => new MarkdownBlockSplitter(), []).splitIntoBlocks(text);
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
    applyExtensionsToNodes(nodes);
    const wide = [...nodes.querySelectorAll<HTMLElement>('table, .formula-block')].map(wrapInScrollBox);
    ref.current?.replaceChildren(nodes);
    const stops = wide.map(keepScrollBoxFocusable);
    return () => {
      for (const stop of stops) stop();
    };
  }, [html]);
  return <div ref={ref} class="prose" dir="auto" />;
});

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
