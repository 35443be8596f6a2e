import { readFile } from 'node:fs/promises';
import { listGuides } from '../../scripts/guides.ts';

const ROOT = new URL('../../', import.meta.url);

/** @returns a guide's text by its name in docs/ */
export async function readGuide(name: string): Promise<string> {
  return await readFile(new URL(`docs/${name}.md`, ROOT), 'utf8');
}

/** @returns the README and all guides that it lists, in its order, by their files */
export async function readGuides(): Promise<Map<string, string>> {
  const readme = await readFile(new URL('README.md', ROOT), 'utf8');
  const guides = new Map([['README.md', readme]]);
  for (const { file } of listGuides(readme)) guides.set(`docs/${file}.md`, await readGuide(file));
  return guides;
}

/** @returns the blocks of code of one language */
export function codeBlocksOf(text: string, language: string): string[] {
  return [...text.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, 'g'))].map(([, code = '']) => code);
}

/**
 * Gives the files of a guide's section: what its blocks of code are named by the paragraph before each, as in "`page.js`:".
 *
 * @returns their code by their names
 */
export function filesOfSection(guide: string, heading: string): Map<string, string> {
  const files = new Map<string, string>();
  const named = /^`([\w./[\]-]+)`[^\n]*:(?:[^\n]*\.)?\n+```\w+\n([\s\S]*?)```/gm;
  for (const [, name = '', code = ''] of sectionOf(guide, heading).matchAll(named)) files.set(name, code);
  return files;
}

/** @returns what stands below a heading, up to the next one of its rank or higher */
export function sectionOf(guide: string, heading: string): string {
  const [found, rank = ''] = new RegExp(`^(#+) ${heading}\\n`, 'm').exec(guide) ?? [];
  if (found === undefined) throw new TypeError(`There is no ${heading}.`);
  const [, rest = ''] = guide.split(found);
  return rest.split(new RegExp(`^#{1,${rank.length}} `, 'm'))[0] ?? '';
}
