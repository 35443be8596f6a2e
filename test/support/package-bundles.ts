/** Workers on the package, bundled as by those who use it: with wrangler's bundler, and with that of Vite. */
import { build } from 'esbuild';
import { rolldown } from 'rolldown';

export interface PackageBundle {
  code: string;
  /** The files of the package of which something is in it, by their paths in its `dist/`. */
  files: string[];
}
export type Bundlers = 'esbuild' | 'rolldown';

const RESOLVED = { conditions: ['workerd', 'worker', 'browser'], mainFields: ['browser', 'module', 'main'] };
const OUTSIDE = ['cloudflare:*', 'node:*'];
/** Nothing answers in place of Claude where it is deployed. */
const define = { SLUICE_SIMULATOR: 'false' };
const ofPackage = (file: string) => /node_modules\/sluice\/dist\/(.*)/.exec(file)?.[1] ?? [];

/**
 * Bundles Workers, each by itself.
 *
 * @param folder where the package is installed
 * @param sources the code of each by its name
 */
export async function bundlePackage(
  bundler: Bundlers,
  folder: string,
  sources: ReadonlyMap<string, string>,
): Promise<Map<string, PackageBundle>> {
  return await { esbuild: byEsbuild, rolldown: byRolldown }[bundler](folder, sources);
}

async function byEsbuild(folder: string, sources: ReadonlyMap<string, string>): Promise<Map<string, PackageBundle>> {
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
    ...RESOLVED,
    external: OUTSIDE,
    define,
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
      const files = inputs.flatMap(([file, { bytesInOutput }]) => (bytesInOutput > 0 ? ofPackage(file) : []));
      return [name, { code: texts.get(`${folder}/${name}.js`) ?? '', files }];
    }),
  );
}

async function byRolldown(folder: string, sources: ReadonlyMap<string, string>): Promise<Map<string, PackageBundle>> {
  const bundled = new Map<string, PackageBundle>();
  for (const [name, source] of sources) {
    const entry = `${folder}/${name}.ts`;
    const bundle = await rolldown({
      cwd: folder,
      input: entry,
      platform: 'neutral',
      resolve: { conditionNames: RESOLVED.conditions, mainFields: RESOLVED.mainFields },
      external: /^(?:cloudflare|node):/,
      transform: { define },
      plugins: [
        {
          name: 'entries',
          resolveId: (id) => (id === entry ? id : undefined),
          load: (id) => (id === entry ? source : undefined),
        },
      ],
    });
    const { output } = await bundle.generate({ codeSplitting: false, minify: true });
    await bundle.close();
    const [{ code, modules }] = output;
    const files = Object.entries(modules).flatMap(([file, { renderedLength }]) =>
      renderedLength > 0 ? ofPackage(file) : [],
    );
    bundled.set(name, { code, files });
  }
  return bundled;
}
