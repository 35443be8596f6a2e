import { bundleForBrowser } from './bundle.ts';

/**
 * Runs an example in Node, as a module with what it takes for granted.
 *
 * @param code the module; what it does not declare itself is taken from `given`
 * @param globals values by their names. Only those that the code names are read
 * @returns what it gave to `show`
 */
export async function runExample(
  code: string,
  globals: Readonly<Record<string, unknown>>,
  loader: 'js' | 'ts' = 'js',
): Promise<unknown[]> {
  const names = Object.keys(globals).filter((name) => hasUndeclaredName(code, name));
  const imports = /((?:^import .*\n)*)/.exec(code)?.[0] ?? '';
  const prelude = `const { ${['show', ...names].join(', ')} } = globalThis.given;\n`;
  const script = await bundleForBrowser(imports + prelude + code.slice(imports.length), loader);
  const shown: unknown[] = [];
  const scope = globalThis as unknown as { given: unknown };
  const values = Object.fromEntries(names.map((name) => [name, globals[name]]));
  scope.given = { ...values, show: (...all: unknown[]) => shown.push(...all) };
  try {
    await import(/* @vite-ignore */ `data:text/javascript;base64,${Buffer.from(script).toString('base64')}`);
  } finally {
    scope.given = undefined;
  }
  return shown;
}

/** @returns whether code uses a name that it does not declare itself */
export function hasUndeclaredName(code: string, name: string): boolean {
  return new RegExp(`(?<![.\\w])${name}\\b`).test(code) && !new RegExp(`const (?:\\{[^}]*\\b)?${name}\\b`).test(code);
}
