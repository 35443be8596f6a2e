/** Makes pages of the guides: README.md and what it links to in docs/. */
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import createParser from 'markdown-it';
import { highlightCode } from '../src/page/ui/highlight.ts';
import { OUTPUT, TARGETS } from './page.ts';

const ROOT = new URL('../', import.meta.url);
const STYLE = fileURLToPath(new URL('../src/edge/openapi/guides.css', import.meta.url));
/** The files in docs/ that guides link. They are served beside the guides. */
const LINKED_FILES = ['alerts.yml', 'grafana.json', 'page.png'];
const SCRIPT = fileURLToPath(new URL('guides-page.ts', import.meta.url));

/** A guide: its file below docs/, and the name and the group that the README gives it. */
interface Guide {
  file: string;
  name: string;
  group: string;
}

/** @returns the pages, their style and their script, by their paths below the root */
export async function bundleGuides(): Promise<Record<string, string | Uint8Array>> {
  const readme = await readFile(new URL('README.md', ROOT), 'utf8');
  const picture = await readFile(new URL('docs/page.png', ROOT));
  const files = await Promise.all(
    LINKED_FILES.map(async (name) => [`docs/guides/${name}`, await readFile(new URL(`docs/${name}`, ROOT))] as const),
  );
  const guides = listGuides(readme);
  const pages = await Promise.all(
    guides.map(async ({ file, name }) => {
      const text = await readFile(new URL(`docs/${file}.md`, ROOT), 'utf8');
      return [`docs/guides/${file}.html`, renderGuide(text, { file, name }, guides)] as const;
    }),
  );
  const { outputFiles } = await build({
    entryPoints: [STYLE, SCRIPT],
    outdir: OUTPUT,
    entryNames: '[name]',
    bundle: true,
    format: 'iife',
    target: TARGETS,
    minify: true,
    write: false,
    external: ['/page/*'],
    logLevel: 'silent',
  });
  return {
    // Set the size of the image, so that the page does not move when the image has loaded.
    'docs/guides.html': renderGuide(readme, { file: '', name: 'Sluice' }, guides).replace(
      '<img src="/docs/guides/page.png"',
      `$& width="${picture.readUInt32BE(16)}" height="${picture.readUInt32BE(20)}"`,
    ),
    ...Object.fromEntries(files),
    ...Object.fromEntries(outputFiles.map(({ path, contents }) => [`docs/${basename(path)}`, contents])),
    ...Object.fromEntries(pages),
  };
}

/** @returns the guides in the order of the README's section "Guides" */
export function listGuides(readme: string): Guide[] {
  const [, section = ''] = readme.split(/^## Guides\n/m);
  return section
    .split(/^### /m)
    .slice(1)
    .flatMap((part) => {
      const [group = ''] = part.split('\n');
      const links = part.matchAll(/^- \[(.+?)\]\(docs\/([\w-]+)\.md\)/gm);
      return [...links].map(([, name = '', file = '']) => ({ name, file, group }));
    });
}

function renderGuide(markdown: string, { file, name }: Pick<Guide, 'file' | 'name'>, guides: readonly Guide[]): string {
  const groups = Map.groupBy(guides, ({ group }) => group);
  const links = [...groups].map(([group, members]) => {
    const items = members.map((guide) => {
      const current = guide.file === file ? ' aria-current="page"' : '';
      return `<li><a href="/docs/guides/${guide.file}"${current}>${escapeHtml(guide.name)}</a></li>`;
    });
    return `<li><span class="heading">${escapeHtml(group)}</span><ul>${items.join('')}</ul></li>`;
  });
  return renderFrame({
    title: file === '' ? 'Sluice: guides' : `${escapeHtml(name)}: Sluice`,
    part: 'Guides',
    all: 'All guides',
    list: links.join(''),
    main: renderMarkdown(markdown),
    isBelow: file !== '',
  });
}

interface FramedPage {
  title: string;
  /** The part of the documentation that it is in. */
  part: 'Guides' | 'Reference';
  /** The name of the button that opens the list, where the window is narrow. */
  all: string;
  /** The navigation beside the content, as items of a list. */
  list: string;
  main: string;
  /** Whether the part begins with another page. */
  isBelow?: boolean;
}

/** @returns a page of the documentation: its head, the list beside it, and its content */
export function renderFrame({ title, part, all, list, main, isBelow = false }: FramedPage): string {
  const link = (name: FramedPage['part'], href: string) =>
    `<a href="${href}"${name === part ? ` aria-current="${isBelow ? 'true' : 'page'}"` : ''}>${name}</a>`;
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta name="color-scheme" content="light dark" />
    <title>${title}</title>
    <link rel="icon" href="/page/icon.svg" type="image/svg+xml" />
    <link rel="preload" href="/page/figtree.woff2" as="font" type="font/woff2" crossorigin />
    <link rel="stylesheet" href="/docs/guides.css" />
    <script src="/docs/guides-page.js"></script>
  </head>
  <body>
    <a class="skip" href="#guide">Skip to the text</a>
    <header class="top">
      <a class="inline brand" href="/"><img src="/page/icon.svg" alt="" width="24" height="24" />Sluice</a>
      <div class="parts">
        ${link('Guides', '/docs/guides')}
        ${link('Reference', '/docs')}
      </div>
      <button type="button" class="button plain list" popovertarget="guides">${all}</button>
    </header>
    <nav id="guides" popover aria-label="${part}"><ul>${list}</ul></nav>
    <main id="guide">${main}</main>
    <p class="unseen" role="status"></p>
  </body>
</html>
`;
}

/** Reads the Markdown of this repository, which may contain HTML. */
export const markdownParser = createParser({ html: true, linkify: true });

// Name each heading by its text, as hosts of repositories do.
markdownParser.core.ruler.push('anchors', ({ tokens }) => {
  for (const [index, { type, content }] of tokens.entries()) {
    if (type === 'inline' && tokens[index - 1]?.type === 'heading_open')
      tokens[index - 1]?.attrSet('id', toAnchor(content));
  }
});
// Put a table into a frame that scrolls and can be focused, so that a wide one can be read with the keyboard, too.
markdownParser.renderer.rules.table_open = (tokens, index) => {
  const end = tokens.findIndex(({ type }, at) => at > index && type === 'thead_close');
  const heads = tokens.slice(index, end).flatMap(({ type, content }) => (type === 'inline' ? content : []));
  const name = escapeHtml(`Table: ${heads.join(', ')}`);
  return `<div class="wide" tabindex="0" role="group" aria-label="${name}"><table>`;
};
markdownParser.renderer.rules.fence = (tokens, index) => {
  const { content = '', info = '' } = tokens[index] ?? {};
  return renderCode(content.replace(/\n$/, ''), info || 'text');
};
markdownParser.renderer.rules.table_close = () => '</table></div>\n';

function renderMarkdown(markdown: string): string {
  const tokens = markdownParser.parse(markdown, {});
  for (const token of tokens.flatMap(({ children }) => children ?? [])) {
    for (const name of ['href', 'src']) {
      const link = token.attrGet(name);
      if (link !== null) token.attrSet(name, resolveLink(String(link)));
    }
  }
  const html = markdownParser.renderer.render(tokens, markdownParser.options, {});
  return html.replace('</h1>\n', `$&${contentsOf(markdown)}`);
}

/** @returns the table of contents of a page; empty where a page has few sections */
function contentsOf(markdown: string): string {
  const tokens = markdownParser.parse(markdown, {});
  const sections = tokens.flatMap(({ type, content }, index) => {
    return type === 'inline' && tokens[index - 1]?.tag === 'h2' ? [content] : [];
  });
  if (sections.length < 3) return '';
  const links = sections.map((text) => {
    return `<li><a href="#${toAnchor(text)}">${markdownParser.renderInline(text)}</a></li>`;
  });
  return `<nav class="contents" aria-label="On this page"><ul>${links.join('')}</ul></nav>\n`;
}

/** @returns the target of a guide's link on the served pages; a link to a file that is not served is unchanged */
function resolveLink(href: string): string {
  return href
    .replace(/^(?:docs\/)?([\w-]+)\.md(#.*)?$/, '/docs/guides/$1$2')
    .replace(/^(?:docs\/)?([\w-]+\.(?:json|png|yml))$/, '/docs/guides/$1');
}

/** @returns the anchor that hosts of repositories give a heading */
export function toAnchor(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replace(/\s/g, '-');
}

/** @returns a block of code, which the keyboard reaches */
export function renderCode(text: string, language: string): string {
  const code = highlightCode(text, language) ?? escapeHtml(text);
  return `<figure class="code"><figcaption class="apart">${escapeHtml(language)}</figcaption><pre tabindex="0"><code>${code}</code></pre></figure>\n`;
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
