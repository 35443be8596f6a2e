import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from './support/root.ts';

// knip finds what is exported for tests alone. This finds members of classes that only tests use.

/** What the runtime calls, and words of statements, which stand where members do. */
const NO_DOORS = /^(?:alarm|constructor|fetch|queue|await|const|for|if|return|switch|throw|void|while)$/;
/** What applications call: the client's own classes. */
const OF_APPLICATIONS = /^src\/client\//;

const CLASS = /^(?:export )?(?:default )?(?:abstract )?class (\w+)[^{]*\{\n([\s\S]*?)\n\}/gm;
const MEMBER = /^ {2}((?:(?:static|async|override|get|set|readonly|abstract) )*)\*?(\w+)(\(|<|[?!]?: | = |;)/gm;
/** A line of a comment. (A text may have the signs of a comment in it: paths do.) */
const COMMENT = /^\s*(?:\/\*|\*|\/\/).*$/gm;

/** @returns the code of the source, by path, without comments */
async function sources(): Promise<Map<string, string>> {
  const entries = await readdir(join(root, 'src'), { recursive: true });
  const files = entries.filter((entry) => /\.tsx?$/.test(entry)).map((entry) => `src/${entry}`);
  const texts = await Promise.all(files.map(async (file) => await readFile(join(root, file), 'utf8')));
  return new Map(files.map((file, at) => [file, (texts[at] ?? '').replaceAll(COMMENT, '')]));
}

/**
 * Finds members that no code uses by their name: a method is called, or taken from an object; another member is read. A name
 * that two classes share may hide one of them.
 *
 * @returns them as `file: Class.member`
 */
function unusedMembers(code: ReadonlyMap<string, string>): string[] {
  const all = [...code.values()].join('\n');
  const namesIn = (pattern: RegExp) => new Set([...all.matchAll(pattern)].map(([, name]) => name));
  const called = namesIn(/\.\s*(\w+)(?:\?\.)?[(<]/g);
  const read = namesIn(/\.\s*(\w+)/g);
  const taken = namesIn(/(?<=[{,]\s*)(\w+)(?=\s*[,}:=])/g);
  return [...code].flatMap(([file, text]) =>
    [...text.matchAll(CLASS)].flatMap(([, owner, body = '']) =>
      [...body.matchAll(MEMBER)]
        .filter(([, words = '', name = '', sign]) => {
          const isMethod = (sign === '(' || sign === '<') && !/\b[gs]et\b/.test(words);
          return !NO_DOORS.test(name) && !(isMethod ? called : read).has(name) && !taken.has(name);
        })
        .map(([, , name]) => `${file}: ${owner}.${name}`),
    ),
  );
}

test('every class member outside the client is used in the source, not only in tests', async () => {
  const code = await sources();
  expect(code.size).toBeGreaterThan(500);
  expect(unusedMembers(code).filter((member) => !OF_APPLICATIONS.test(member))).toEqual([]);
});

test('unusedMembers finds unused members, and ignores members that are called, read or destructured', () => {
  const one = [
    'export class One {',
    '  readonly told = 1;',
    '  readonly dumb = 1;',
    '  get seen(): number {',
    '    return this.told;',
    '  }',
    '  async asked<T>(of: T): Promise<T> {',
    '    return of;',
    '  }',
    '  /** Calls `lost()` and .lost(). */',
    '  lost(): void {}',
    '  given(): void {}',
    '}',
  ].join('\n');
  const other = 'const { given, seen } = one;\nawait one.asked<number>(1);';
  const code = new Map([
    ['src/one.ts', one.replaceAll(COMMENT, '')],
    ['src/other.ts', other],
  ]);
  expect(unusedMembers(code)).toEqual(['src/one.ts: One.dumb', 'src/one.ts: One.lost']);
});
