/**
 * Names the files of tests that wait for something or measure time: those that a busy machine could break.
 * `npx vitest run $(npm run -s waiting)` runs them. Npm runs it in the folder of the package.
 */
import { globSync, readFileSync } from 'node:fs';

const WAITS = /\bexpect\s*\.poll\(|\bwaitFor(Function|Response|Selector)?\(|\buntil\(|\bsetTimeout\(|\badvanceTimersBy/;

const files = globSync('test/**/*.test.ts');
const found = files.filter((file) => file.endsWith('.timing.test.ts') || WAITS.test(readFileSync(file, 'utf8')));
process.stdout.write(`${found.sort().join('\n')}\n`);
