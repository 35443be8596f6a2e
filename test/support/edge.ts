import { execFile } from 'node:child_process';
import type { RequestListener } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { convertV4MiniflareOptions, Miniflare, type V4WorkerOptions } from 'miniflare';
import { inject } from 'vitest';
import { unstable_getMiniflareWorkerOptions, unstable_readConfig } from 'wrangler';

import { readThreadCpuMs } from './processes.ts';
import { root } from './root.ts';
import { SECRET } from './tokens.ts';

/** The built Worker in workerd, and what it logged. */
export interface Edge {
  url: string;
  log: Record<string, unknown>[];
  stop(): Promise<void>;
  /** Ends the runtime as a power cut does: nothing that runs in it comes to its end. */
  kill(): Promise<void>;
  /** Stops the runtime for some milliseconds, as a busy machine does. */
  freeze(milliseconds: number): Promise<void>;
  /** @returns the CPU of the thread that answers all requests, in milliseconds: without those that compile and collect */
  cpuMs(): number;
}

/** An edge whose runtime can be inspected. */
export interface InspectableEdge extends Edge {
  /** Where the inspector of the Worker's isolate accepts a WebSocket. */
  inspectorUrl: string;
}

/**
 * Starts workerd with the built Worker, as it would be deployed but for its assets.
 *
 * @param vars settings besides those of wrangler.toml; `.dev.vars` is not read
 * @param folder where the Worker's wrangler.toml is; absent for the product's own
 */
export async function startEdge(
  script: string,
  vars: Record<string, string>,
  persist?: string,
  folder = root,
): Promise<Edge> {
  return await startRuntime(script, vars, { persist, folder });
}

/**
 * Starts workerd with the built Worker, as it would be deployed, with all its calls to the outside answered by this process. So its
 * upstream is the Claude API itself, which some rules hold for only.
 */
export async function startEdgeOfClaudeApi(
  answer: RequestListener,
  script: string,
  vars: Record<string, string>,
  persist?: string,
): Promise<Edge> {
  return await startRuntime(script, vars, { persist, outside: answer });
}

/**
 * Starts workerd with the built Worker, its clock ahead: all that is due until then is due at once, alarms too.
 *
 * @param library what `calendarLibrary` has compiled
 */
export async function startEdgeAhead(
  vars: Record<string, string>,
  persist: string,
  { library, seconds }: { library: string; seconds: number },
): Promise<Edge> {
  return await startWithEnvironment({ LD_PRELOAD: library, CLOCK_AHEAD: String(seconds) }, () =>
    startEdge(inject('worker'), vars, persist),
  );
}

/** Starts workerd with the deployed Worker and a heap of so many MB. What needs more ends the runtime. */
export async function startEdgeWithHeap(megabytes: number, vars: Record<string, string>): Promise<Edge> {
  return await startWithEnvironment({ MINIFLARE_WORKERD_V8_FLAGS: `--max-heap-size=${megabytes}` }, () =>
    startEdge(inject('deployed').code, vars),
  );
}

/** Starts workerd with the built Worker as a development server, and with the runtime's inspector. */
export async function startInspectableEdge(vars: Record<string, string>): Promise<InspectableEdge> {
  return await startRuntime(inject('worker'), vars, { isInspectable: true });
}

/** Starts a runtime with an environment of its own, which it takes from this process. */
async function startWithEnvironment(environment: Record<string, string>, start: () => Promise<Edge>): Promise<Edge> {
  const before = Object.keys(environment).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, environment);
  try {
    return await start();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

/**
 * Starts workerd with the built Worker and the simulator, in development mode.
 *
 * @param vars settings besides, as those of the simulator's pace
 */
export async function startSimulatingEdge(vars: Record<string, string>, persist?: string): Promise<Edge> {
  return await startEdge(inject('worker'), { UPSTREAM: 'simulator', ...vars }, persist);
}

/**
 * Starts workerd with the built Worker, the simulator and the page, in development mode: a fifth of what `npm start`
 * computes for it.
 *
 * @param vars settings besides, as those of the simulator's pace
 * @param script another build of the Worker
 * @param folder where the Worker's wrangler.toml is; absent for the product's own
 */
export async function startEdgeWithPage(
  vars: Record<string, string>,
  script = inject('worker'),
  folder = root,
): Promise<Edge> {
  const settings = { UPSTREAM: 'simulator', SIGNING_SECRET: SECRET, ...vars };
  return await startRuntime(script, settings, { withAssets: true, folder });
}

function readConfiguration(folder = root) {
  const config = unstable_readConfig({ config: join(folder, 'wrangler.toml') });
  const { modulesRules: _, assets, ...configured } = unstable_getMiniflareWorkerOptions(config).workerOptions;
  return { config, assets, configured };
}

interface RuntimeOptions {
  persist?: string | undefined;
  folder?: string;
  /** Whether the page is there, before the Worker as where it is deployed. */
  withAssets?: boolean;
  /** Answers all calls to the outside. Default: the network. */
  outside?: RequestListener;
  isInspectable?: boolean;
}

async function startRuntime(
  script: string,
  vars: Record<string, string>,
  { persist, folder, withAssets = false, outside, isInspectable = false }: RuntimeOptions,
): Promise<InspectableEdge> {
  const { config, assets, configured } = readConfiguration(folder);
  const log: Record<string, unknown>[] = [];
  const others = new Set(await listRuntimes());
  const miniflare = new Miniflare({
    ...convertV4MiniflareOptions({
      ...configured,
      name: 'sluice',
      modules: true,
      script,
      bindings: { ...config.vars, ...vars },
      // What wrangler gives has no type.
      ...(withAssets
        ? { assets: assets as NonNullable<V4WorkerOptions['assets']>, host: '127.0.0.1', port: 0 }
        : { unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }] }),
      handleStructuredLogs: ({ message }) => {
        if (message.startsWith('{')) log.push(JSON.parse(message) as Record<string, unknown>);
      },
      cf: false,
      ...(outside && { outboundService: { node: outside } }),
    }),
    ...(persist === undefined ? {} : { resourcePersistencePath: persist }),
    ...(isInspectable ? { inspectorPort: 0 } : {}),
  });
  const { origin } = withAssets ? await miniflare.ready : await miniflare.unsafeGetDirectURL();
  const started = (await listRuntimes()).filter((pid) => !others.has(pid));
  return {
    url: origin,
    inspectorUrl: isInspectable ? new URL('/core:user:sluice', await miniflare.getInspectorURL()).href : '',
    log,
    stop: () => miniflare.dispose(),
    freeze: async (milliseconds) => {
      for (const pid of started) process.kill(pid, 'SIGSTOP');
      await new Promise((resolve) => setTimeout(resolve, milliseconds));
      for (const pid of started) process.kill(pid, 'SIGCONT');
    },
    cpuMs: () => started.reduce((sum, pid) => sum + readThreadCpuMs(pid), 0),
    kill: async () => {
      for (const pid of started) process.kill(pid, 'SIGKILL');
      await miniflare.dispose();
    },
  };
}

/** The runtimes that this very process has started. */
async function listRuntimes(): Promise<number[]> {
  // It fails where there is none.
  const found = await promisify(execFile)('pgrep', ['-P', String(process.pid), 'workerd']).catch(() => undefined);
  return found?.stdout.trim().split('\n').map(Number) ?? [];
}
