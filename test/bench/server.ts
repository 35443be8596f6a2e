import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import { unstable_getMiniflareWorkerOptions, unstable_readConfig } from 'wrangler';
import type { Contender } from './contenders.ts';
import { childPids, endWithThisProcess, exactCpuMs } from './processes.ts';

/** This checkout. */
export const HERE = fileURLToPath(new URL('../..', import.meta.url));
// Or wrangler says which files it reads, in the middle of the table.
process.env.WRANGLER_LOG = 'error';

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

/** How the pattern begins by which `src/edge/claude/stream.ts` knows the services of the Claude API. */
const SERVICE = String.raw`^https:\/\/(?:`;

/**
 * Bundles the Worker of a checkout as `wrangler deploy` does, or one of this folder as wrangler would.
 *
 * @param folder that of the checkout, in which `npm install` has been run
 * @returns the code of its only module, which takes the fake upstream for the Claude API itself
 * @throws Error where the Worker knows the Claude API in another way
 */
export async function buildWorker(worker: Contender['worker'], folder = HERE): Promise<string> {
  const code = worker === 'wrangler.toml' ? bundledByWrangler(folder) : await bundled(fileURLToPath(worker.file));
  const [before = '', after, ...further] = code.split(SERVICE);
  if (further.length > 0)
    throw new Error('Two patterns begin as that of the Claude API: test/bench/server.ts must tell them apart.');
  if (after === undefined && code.includes('anthropic'))
    throw new Error('test/bench/server.ts must learn how the API is known.');
  return after === undefined ? code : String.raw`${before}^https?:\/\/(?:127\.0\.0\.1:\d+|${after}`;
}

function bundledByWrangler(folder: string): string {
  const outdir = temporaryDirectory(tmpdir());
  const args = ['node_modules/wrangler/bin/wrangler.js', 'deploy', '--dry-run', '--env', '', '--outdir', outdir];
  const { status, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${folder} cannot be bundled: ${stderr}`);
  return readFileSync(join(outdir, 'index.js'), 'utf8');
}

async function bundled(entry: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [entry],
    absWorkingDir: HERE,
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: 'es2024',
    conditions: ['workerd', 'worker', 'browser'],
    external: ['cloudflare:*'],
  });
  return outputFiles[0]?.text ?? '';
}

/** A Worker that runs in a workerd process of its own. */
export interface Server {
  origin: string;
  /** What the process has used so far. @throws Error where that cannot be read */
  cpuMs: () => number;
  stop: () => Promise<void>;
}

/** Where there is one it is in memory: how long the local disk takes to write is not the Worker's cost. */
function newDisk(): string {
  return temporaryDirectory(existsSync(MEMORY_DISK) ? MEMORY_DISK : tmpdir());
}

/**
 * Starts workerd with one Worker. Two must not be started at once: the new child process is taken for this one's.
 *
 * @param script what `buildWorker` gave
 * @param folder that of the checkout whose wrangler.toml it has
 */
export async function startServer(
  contender: Contender,
  script: string,
  upstream: string,
  folder = HERE,
): Promise<Server> {
  const config = unstable_readConfig({ config: join(folder, 'wrangler.toml') });
  const isBound = contender.worker === 'wrangler.toml' || contender.worker.isBound === true;
  // Bundling, and its rules, are done; the assets are none of the Worker's work.
  const { modulesRules: _, assets: __, ...configured } = unstable_getMiniflareWorkerOptions(config).workerOptions;
  const { compatibility_date: compatibilityDate, compatibility_flags: compatibilityFlags } = config;
  const before = new Set(childPids());
  const miniflare = new Miniflare({
    ...convertV4MiniflareOptions({
      ...(isBound ? configured : { compatibilityDate, compatibilityFlags }),
      name: contender.name,
      modules: true,
      script,
      // In place of Miniflare's options, whose variables come from the developer's .dev.vars too.
      bindings: { ...config.vars, ...contender.vars, ANTHROPIC_BASE_URL: upstream },
      // Past Miniflare's entry Worker, which would add two thirds to the bare Worker's cost and so hide Sluice's.
      unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
      cf: false,
    }),
    resourcePersistencePath: newDisk(),
  });
  const { origin } = await miniflare.unsafeGetDirectURL();
  const pid = childPids().find((child) => !before.has(child));
  if (pid !== undefined) endWithThisProcess(pid);
  return {
    origin,
    cpuMs: () => {
      if (pid === undefined) throw new Error('The CPU of a process can be read on Linux only.');
      return exactCpuMs(pid);
    },
    stop: () => miniflare.dispose(),
  };
}
