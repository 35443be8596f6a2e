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
export function blocksOf(text: string, language: string): string[] {
  return [...text.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, 'g'))].map(([, code = '']) => code);
}
