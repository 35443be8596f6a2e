/** Runs a built Worker in workerd, as it would be deployed but for its assets. */
import { join } from 'node:path';
import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import { unstable_getMiniflareWorkerOptions, unstable_readConfig } from 'wrangler';
import { root } from './root.ts';

/** A Worker that runs on this machine and accepts only local requests. */
export interface RunningWorker {
  url: string;
  stop(): Promise<void>;
}

/**
 * @param script the code of its only module
 * @param vars settings besides those of wrangler.toml
 * @param persist the folder of its state
 */
export async function runWorker(script: string, vars: Record<string, string>, persist: string): Promise<RunningWorker> {
  const config = unstable_readConfig({ config: join(root, 'wrangler.toml') });
  const { modulesRules: _, assets: __, ...configured } = unstable_getMiniflareWorkerOptions(config).workerOptions;
  const options = {
    ...configured,
    name: 'sluice',
    modules: true as const,
    script,
    bindings: { ...config.vars, ...vars },
    unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
    // Discard the Worker's log, which would mix with the output of the script.
    handleStructuredLogs: () => {},
    cf: false as const,
  };
  const miniflare = new Miniflare({ ...convertV4MiniflareOptions(options), resourcePersistencePath: persist });
  const { origin: url } = await miniflare.unsafeGetDirectURL();
  return { url, stop: () => miniflare.dispose() };
}
