import { memo } from 'preact/compat';
import { useLayoutEffect, useMemo, useRef } from 'preact/hooks';
import { Code } from './code.tsx';
import { MarkdownBlocks, markdownToHtml } from './markdown-blocks.ts';
import { sanitize } from './sanitize.ts';

/** Shows the text of a model, which may still grow. */
export function Markdown({ text }: { text: string }) {
  const blocks = useMemo(() => new MarkdownBlocks(), []).split(text);
  return (
    <div class="markdown">
      {blocks.map((block, index) =>
        block.kind === 'code' ? (
          // biome-ignore lint/suspicious/noArrayIndexKey: blocks are only ever added at the end.
          <Code key={index} code={block.code} language={block.language} />
        ) : (
          // biome-ignore lint/suspicious/noArrayIndexKey: blocks are only ever added at the end.
          <Prose key={index} raw={block.raw} />
        ),
      )}
    </div>
  );
}

const Prose = memo(({ raw }: { raw: string }) => {
  const ref = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    ref.current?.replaceChildren(sanitize(markdownToHtml(raw)));
    // What scrolls has to be reached by the keyboard; what does not is no stop on its way.
    for (const table of ref.current?.querySelectorAll('table') ?? []) {
      if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
    }
  }, [raw]);
  return <div ref={ref} class="prose" />;
});
