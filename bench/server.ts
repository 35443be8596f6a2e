import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import { unstable_getMiniflareWorkerOptions, unstable_readConfig } from 'wrangler';
import type { Contender } from './contenders.ts';
import { childPids, cpuMs, endWithThisProcess } from './processes.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
// Or wrangler says which files it reads, in the middle of the table.
process.env.WRANGLER_LOG = 'error';
const config = unstable_readConfig({ config: join(root, 'wrangler.toml') });

const MEMORY_DISK = '/dev/shm';

const directories: string[] = [];
process.once('exit', () => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

function temporaryDirectory(parent: string): string {
  const directory = mkdtempSync(join(parent, 'sluice-bench-'));
  directories.push(directory);
  return directory;
}

/**
 * The runtime with its standard output going nowhere. Deployed, a Worker's log lines are collected in its process: to wake
 * another one for each of them is not its cost.
 */
function quietRuntime(): string {
  const { default: workerd } = createRequire(import.meta.url)('workerd') as { default: string };
  const path = join(temporaryDirectory(tmpdir()), 'workerd');
  writeFileSync(path, `#!/bin/sh\nexec '${workerd}' "$@" > /dev/null\n`, { mode: 0o755 });
  return path;
}
process.env.MINIFLARE_WORKERD_PATH ??= quietRuntime();

type Module = { path: string; type: 'ESModule' | 'Text' | 'Data' | 'CompiledWasm' };

/** A Worker as it is deployed. */
export interface Bundle {
  /** The entry is the first. */
  modules: Module[];
  bytes: number;
  gzipBytes: number;
}

/** What wrangler's own rules make of a file beside the entry. */
const moduleTypes: Record<string, Module['type']> = {
  '.js': 'ESModule',
  '.txt': 'Text',
  '.html': 'Text',
  '.sql': 'Text',
  '.bin': 'Data',
  '.wasm': 'CompiledWasm',
};

/** Builds a Worker as `wrangler deploy` does, and measures what would be uploaded. */
export async function buildWorker(worker: Contender['worker'], outdir: string): Promise<Bundle> {
  await mkdir(outdir, { recursive: true });
  const whole = worker === 'wrangler.toml';
  const configured = whole || worker.configured === true;
  const main = whole ? (config.main ?? '') : fileURLToPath(worker.file);
  // Without a configuration of its own, a file would be given wrangler.toml's objects, which it does not export.
  const ownConfig = join(outdir, 'bench.wrangler.json');
  const { compatibility_date, compatibility_flags, minify, keep_names, define } = config;
  const own = { name: 'bench', main, compatibility_date, compatibility_flags, minify, keep_names, define };
  await writeFile(ownConfig, JSON.stringify(own));
  const configPath = configured ? join(root, 'wrangler.toml') : ownConfig;
  const deploy = ['deploy', main, '--dry-run', '--outdir', outdir, '--config', configPath];
  await promisify(execFile)(process.execPath, [join(root, 'node_modules/wrangler/bin/wrangler.js'), ...deploy], {
    cwd: root,
    env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' },
  });
  const entry = `${basename(main, extname(main))}.js`;
  const modules = (await readdir(outdir))
    .toSorted((a, b) => Number(b === entry) - Number(a === entry))
    .flatMap((file) => {
      const type = moduleTypes[extname(file)];
      return type === undefined ? [] : [{ path: join(outdir, file), type }];
    });
  const contents = await Promise.all(modules.map(({ path }) => readFile(path)));
  return {
    modules,
    bytes: contents.reduce((sum, content) => sum + content.length, 0),
    gzipBytes: contents.reduce((sum, content) => sum + gzipSync(content).length, 0),
  };
}

/** A Worker that runs in a workerd process of its own. */
export interface Server {
  origin: string;
  /** What the process has used so far; undefined where that cannot be read. */
  cpuMs: () => number | undefined;
  /** Of the process; undefined where that cannot be read. */
  pid: number | undefined;
  /** Where its data lies. */
  disk: string;
  /** Where its inspector listens; undefined without one. */
  inspector: URL | undefined;
  stop: () => Promise<void>;
}

/** Where there is one it is in memory: how long the local disk takes to write is not the Worker's cost. */
export function newDisk(): string {
  return temporaryDirectory(existsSync(MEMORY_DISK) ? MEMORY_DISK : tmpdir());
}

/** Starts workerd with one Worker. Two must not be started at once: the new child process is taken for this one's. */
export async function startServer(
  contender: Contender,
  bundle: Bundle,
  upstream: string,
  { disk = newDisk(), inspected = false }: { disk?: string; inspected?: boolean } = {},
): Promise<Server> {
  // The rules sort modules by their names' ends while bundling, which is done; the assets are none of the Worker's work.
  const {
    modulesRules: _,
    assets: __,
    ...configured
  } = contender.worker === 'wrangler.toml' || contender.worker.configured
    ? unstable_getMiniflareWorkerOptions(config).workerOptions
    : {
        modulesRules: [],
        assets: undefined,
        compatibilityDate: config.compatibility_date,
        compatibilityFlags: config.compatibility_flags,
      };
  const before = new Set(childPids());
  const miniflare = new Miniflare({
    ...convertV4MiniflareOptions({
      ...configured,
      name: contender.name,
      modules: bundle.modules,
      modulesRoot: dirname(bundle.modules[0]?.path ?? root),
      // In place of Miniflare's options, whose variables come from the developer's .dev.vars too.
      bindings: { ...config.vars, ...contender.vars, ANTHROPIC_BASE_URL: upstream },
      // Past Miniflare's entry Worker, which would add two thirds to the bare Worker's cost and so hide Sluice's.
      unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
      cf: false,
      ...(inspected ? { inspectorPort: 0 } : {}),
    }),
    resourcePersistencePath: disk,
  });
  const { origin } = await miniflare.unsafeGetDirectURL();
  const pid = childPids().find((child) => !before.has(child));
  if (pid !== undefined) endWithThisProcess(pid);
  return {
    origin,
    pid,
    disk,
    inspector: inspected ? await miniflare.getInspectorURL() : undefined,
    cpuMs: () => (pid === undefined ? undefined : cpuMs(pid)),
    stop: () => miniflare.dispose(),
  };
}
