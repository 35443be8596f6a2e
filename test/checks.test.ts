import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import manifest from '../package.json' with { type: 'json' };

const root = fileURLToPath(new URL('..', import.meta.url));
const checks = manifest.scripts.check.split(' && ');

// Beside the other tests, which leave a processor free now and then.
test.each(checks)('%s finds nothing', async (check) => {
  const [tool = '', ...given] = check.split(' ');
  // Several threads of the compiler parse the same twice; the processors have other work here.
  const args = tool === 'tsc' ? [...given, '--singleThreaded'] : given;
  const found = await promisify(execFile)(`node_modules/.bin/${tool}`, args, { cwd: root }).then(
    () => '',
    ({ stdout, stderr }: { stdout: string; stderr: string }) => stdout + stderr || 'It did not run.',
  );
  expect(found).toBe('');
});
