/** Workers on the package, bundled as by those who deploy them. */
import { build } from 'esbuild';

export interface PackageBundle {
  code: string;
  /** The files of the package of which something is in it, by their paths in its `dist/`. */
  files: string[];
}

const RESOLVED_MODULES = { conditions: ['workerd', 'worker', 'browser'], mainFields: ['browser', 'module', 'main'] };
const EXTERNAL_MODULES = ['cloudflare:*', 'node:*'];
const isOfPackage = (file: string) => /node_modules\/sluice\/dist\/(.*)/.exec(file)?.[1] ?? [];

/**
 * Bundles Workers, each by itself.
 *
 * @param folder where the package is installed
 * @param sources the code of each by its name
 */
export async function bundlePackage(
  folder: string,
  sources: ReadonlyMap<string, string>,
): Promise<Map<string, PackageBundle>> {
  // One build: each file is parsed once for all of them.
  const { outputFiles, metafile } = await build({
    entryPoints: Object.fromEntries([...sources.keys()].map((name) => [name, `entry:${name}`])),
    absWorkingDir: folder,
    outdir: folder,
    write: false,
    metafile: true,
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2024',
    ...RESOLVED_MODULES,
    external: EXTERNAL_MODULES,
    plugins: [
      {
        name: 'entries',
        setup: ({ onResolve, onLoad }) => {
          onResolve({ filter: /^entry:/ }, ({ path }) => ({ path, namespace: 'entry' }));
          onLoad({ filter: /.*/, namespace: 'entry' }, ({ path }) => ({
            contents: sources.get(path.slice('entry:'.length)) ?? '',
            resolveDir: folder,
            loader: 'ts',
          }));
        },
      },
    ],
  });
  const texts = new Map(outputFiles.map(({ path, text }) => [path, text]));
  return new Map(
    [...sources.keys()].map((name) => {
      const inputs = Object.entries(metafile.outputs[`${name}.js`]?.inputs ?? {});
      const files = inputs.flatMap(([file, { bytesInOutput }]) => (bytesInOutput > 0 ? isOfPackage(file) : []));
      return [name, { code: texts.get(`${folder}/${name}.js`) ?? '', files }];
    }),
  );
}
