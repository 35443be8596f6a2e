import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { MODELS } from '#edge/claude/models/models.ts';

const src = fileURLToPath(new URL('../src', import.meta.url));

/** What may name models: the table, examples of the reference, the simulator, and the names of betas. */
const MAY_NAME =
  /^(?:edge\/claude\/models\/models\.ts|edge\/claude\/models\/model-hint\.ts|edge\/openapi\/|simulator\/|api-rules\/betas\.ts$|.*\.reference\.ts$)/;
const COMMENT = /\/\*[\s\S]*?\*\/|(?<![:'"`/])\/\/.*$/gm;
/** An id, or the beginning of one as a pattern has it. Claude Code is a program, whose user agent is `claude-cli`. */
const ID = /claude-(?!code\b|cli\b)[\w(?:[\\-]+/gi;
/** A question about the form of an id. */
const FORM =
  /\b(?:model|row)(?:\.id)?\)?\.(?:startsWith|endsWith|includes|match|search|split)\(\s*['"`/](?!anthropic\.)[\w-]|\.test\(\w*\b(?:row|model)\w*\.id\)|-\(\?:\d-/g;

/** @returns what a source says about models by their names */
function namesIn(source: string): string[] {
  const code = source.replace(COMMENT, '');
  return [ID, FORM].flatMap((pattern) => [...code.matchAll(pattern)].map(([found]) => found));
}

test('model ids and patterns for them occur only in listed files, such as the table of models and the reference', async () => {
  const entries = await readdir(src, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name));
  const told: string[] = [];
  for (const { parentPath, name } of files) {
    const path = join(parentPath, name);
    const file = relative(src, path).replaceAll('\\', '/');
    if (MAY_NAME.test(file)) continue;
    const found = namesIn(await readFile(path, 'utf8'));
    if (found.length > 0) told.push(`${file}: ${found.join(', ')}`);
  }
  expect(files.length).toBeGreaterThan(500);
  expect(told, 'Add a column to src/edge/claude/models/models.ts, and read it.').toEqual([]);
});

test('namesIn finds each model id and each pattern for ids, and ignores comments', () => {
  for (const { id } of MODELS) expect(namesIn(`const model = '${id}';`)).toEqual([id]);
  for (const code of [
    "rows.filter(({ id }) => id.startsWith('claude-haiku-'))",
    'const OLD = /^claude-(?:opus|sonnet|haiku)-4-5$/;',
    'const UNCHECKED = /-(?:4-\\d+|5|5-1)(?:-\\d{8})?$/;',
    'checks: !OLD.test(row.id),',
    "if (model.includes('haiku')) return 1;",
  ]) {
    expect(namesIn(code), code).not.toEqual([]);
  }
  for (const code of [
    '// claude-opus-5 was so',
    "/** @example { model: 'claude-haiku-5-5' } */",
    "agent: 'claude-code'",
  ]) {
    expect(namesIn(code), code).toEqual([]);
  }
});
