import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { CopyButton } from './copy-button.tsx';
import { highlighter, loadHighlighter } from './highlighter.ts';
import { sanitizeHtml } from './sanitize.ts';

interface CodeProps {
  code: string;
  language: string | undefined;
  /** Returns the text to copy, if it differs from the displayed one. */
  copied?: () => string;
}

export function Code({ code, language, copied = () => code }: CodeProps) {
  const ref = useRef<HTMLElement>(null);
  const highlight = highlighter.value;
  useEffect(() => void loadHighlighter(), []);
  // biome-ignore lint/correctness/useExhaustiveDependencies: color the code again when the highlighter is loaded.
  useLayoutEffect(() => {
    const html = highlight?.(code, language);
    if (html === undefined) ref.current?.replaceChildren(code);
    else ref.current?.replaceChildren(sanitizeHtml(html));
  }, [code, language, highlight]);
  return (
    <figure class="code">
      <figcaption class="apart">
        <span>{language ?? 'text'}</span>
        <CopyButton text={copied} label="Copy code" />
      </figcaption>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrollable area needs the focus, so that the keyboard can scroll it. */}
      <pre tabIndex={0}>
        <code ref={ref} />
      </pre>
    </figure>
  );
}
