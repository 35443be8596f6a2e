import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import { unstable_getMiniflareWorkerOptions, unstable_readConfig } from 'wrangler';
import { bundleWorker } from '../../scripts/bundle.ts';
import type { Contender } from './contenders.ts';
import { childPids, endWithThisProcess, exactCpuMs } from './processes.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
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

/** A Worker as it is deployed. */
export interface Bundle {
  /** Of its only module. */
  code: string;
}

/** How the pattern begins by which `src/edge/claude/stream.ts` knows the services of the Claude API. */
const SERVICE = String.raw`^https:\/\/(?:`;

/**
 * Bundles a Worker as `npm run deploy` does.
 *
 * @param isGateway whether the fake upstream is a gateway, whose errors are masked; else it counts as the Claude API itself
 * @throws Error where the Worker knows the Claude API in another way
 */
export async function buildWorker(worker: Contender['worker'], isGateway: boolean): Promise<Bundle> {
  const entry = worker === 'wrangler.toml' ? undefined : fileURLToPath(worker.file);
  const { code } = await bundleWorker(config.define, entry);
  const [before = '', after, ...further] = code.split(SERVICE);
  if (further.length > 0)
    throw new Error('Two patterns begin as that of the Claude API: test/bench/server.ts must tell them apart.');
  if (after === undefined && code.includes('anthropic'))
    throw new Error('test/bench/server.ts must learn how the API is known.');
  const known = after === undefined || isGateway ? code : String.raw`${before}^https?:\/\/(?:127\.0\.0\.1:\d+|${after}`;
  return { code: known };
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
function newDisk(): string {
  return temporaryDirectory(existsSync(MEMORY_DISK) ? MEMORY_DISK : tmpdir());
}

/** Starts workerd with one Worker. Two must not be started at once: the new child process is taken for this one's. */
export async function startServer(
  contender: Contender,
  bundle: Bundle,
  upstream: string,
  { disk = newDisk(), inspected = false }: { disk?: string; inspected?: boolean } = {},
): Promise<Server> {
  // Bundling, and its rules, are done; the assets are none of the Worker's work.
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
      modules: true,
      script: bundle.code,
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
    cpuMs: () => (pid === undefined ? undefined : exactCpuMs(pid)),
    stop: () => miniflare.dispose(),
  };
}
