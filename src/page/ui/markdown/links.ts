/** Links without brackets, and images. */
import type { MarkdownIt, StateCore, Token } from 'markdown-it';

/**
 * Ends a URL: an asterisk, because it ends emphasis, and full-width or CJK punctuation, with the quotation marks, the dash and the
 * ellipsis of Chinese. `TITLE_PUNCTUATION` stays in the URL.
 */
const URL_END = /\*|[“”]|——|……|(?=[\u3000-\u303f\ufe10-\ufe1f\ufe30-\ufe6f\uff00-\uff64\uffe0-\uffef])[\p{P}\p{S}]/u;
/**
 * Joins the words of a title, so a URL continues behind it: a hyphen or an en dash, the dot between katakana words, and an
 * apostrophe before a Latin letter, which is no closing quotation mark.
 */
const TITLE_PUNCTUATION = /[\u2010-\u2013\u00b7\u2027\u30fb]|\u2019(?=[a-z\u00c0-\u024f])/;
/** Punctuation that belongs to the sentence if a URL ends with it. */
const SENTENCE_PUNCTUATION = /[_~.,:;!?'"]|(?!\p{ASCII})\p{P}/u;
/** A `www.` or an e-mail address, also after a letter of a script that has no spaces. */
const BARE_ADDRESS =
  /(?<![\w@./+-])(?:www\.(?=[^\s.])|[\w.+-]{1,64}@(?:[a-z\d][a-z\d-]{0,62}\.){1,8}[a-z]{2,63}(?![\w-]))/gi;
/** Longer URLs without a scheme are not linked as a whole. */
const MAX_URL_CHARACTERS = 2_000;

export function addLinks(markdown: MarkdownIt): void {
  const { linkify, utils, renderer } = markdown;
  linkify.re.get_path_extra = () => new RegExp(`${TITLE_PUNCTUATION.source}|`);
  for (const scheme of ['http:', 'https:', 'ftp:']) {
    linkify.add(scheme, {
      validate: (text, start, { re }) => {
        const pattern = re.get_http_validator();
        pattern.lastIndex = start;
        return measureUrl(pattern.exec(text)?.[0] ?? '');
      },
    });
  }
  // Show a URL as written: a decoded one could look like that of another site.
  markdown.normalizeLinkText = (url) => url;
  markdown.core.ruler.at('linkify', ({ tokens, Token: TokenClass }: StateCore) => {
    for (const token of tokens) if (token.children) token.children = linkAddresses(token.children, TokenClass);
  });
  // Render an image as a link: loading it would let the model send data to any server in the URL.
  renderer.rules.image = (tokens, index, options, env) => {
    const image = tokens[index];
    const href = utils.escapeHtml(String(image?.attrGet('src') ?? ''));
    const name = utils.escapeHtml(renderer.renderInlineAsText(image?.children ?? [], options, env)) || href;
    return image?.meta?.isInLink ? name : `<a href="${href}">${name}</a>`;
  };

  function linkAddresses(children: readonly Token[], TokenClass: StateCore['Token']): Token[] {
    let depth = 0;
    return children.flatMap((child) => {
      depth += child.type === 'link_open' ? 1 : child.type === 'link_close' ? -1 : 0;
      if (child.type === 'image') child.meta = { isInLink: depth > 0 };
      return child.type === 'text' && depth === 0 ? splitText(child.content, TokenClass) : child;
    });
  }

  function splitText(text: string, TokenClass: StateCore['Token']): Token[] {
    const parts: Token[] = [];
    let end = 0;
    const addText = (until: number) => {
      if (until <= end) return;
      const token = new TokenClass('text', '', 0);
      token.content = text.slice(end, until);
      parts.push(token);
      end = until;
    };
    for (const { 0: found, index } of text.matchAll(BARE_ADDRESS)) {
      if (index < end) continue;
      const isMail = found.includes('@');
      const prefix = isMail ? 'mailto:' : 'http://';
      const url = isMail
        ? prefix + found
        : (linkify.matchAtStart(prefix + text.slice(index, index + MAX_URL_CHARACTERS))?.raw ?? prefix);
      if (url === prefix) continue;
      addText(index);
      const open = new TokenClass('link_open', 'a', 1);
      open.attrSet('href', markdown.normalizeLink(url));
      parts.push(open);
      addText(index + url.length - prefix.length);
      parts.push(new TokenClass('link_close', 'a', -1));
    }
    addText(text.length);
    return parts;
  }
}

/** @returns how many characters of what follows the scheme belong to the URL; 0 if there is no URL */
function measureUrl(found: string): number {
  const end = found.search(URL_END);
  let length = end < 0 ? found.length : end;
  while (length > 0 && SENTENCE_PUNCTUATION.test(found.charAt(length - 1))) length -= 1;
  return length > '//'.length ? length : 0;
}
