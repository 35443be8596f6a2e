import type { TestProject } from 'vitest/node';
import { unstable_readConfig } from 'wrangler';
import { build } from '../../scripts/build.ts';
import { type Bundle, bundleWorker } from '../../scripts/bundle.ts';
import { addSecrets, readDevVars } from '../../scripts/dev-vars.ts';
import { startBrowser } from '../support/browser.ts';
import { startPageEdge } from '../support/page-edge.ts';
import { offer, offerSharedStart } from '../support/shared-start.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** The code of the bundled Worker, with the simulator in it. */
    worker: string;
    /** The same with the shortest patience everywhere: test/fixtures/impatient-worker.ts. */
    impatient: string;
    /** The Worker as it is deployed. */
    deployed: Bundle;
  }
}

/**
 * Builds the Workers, and starts the browser, once for all tests that run them in processes of their own.
 *
 * @returns what ends the browser, and the edges that tests share
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // Added by one server, they would make those start again that run beside it.
  await addSecrets(await readDevVars());
  await build();
  const simulator = { SLUICE_SIMULATOR: 'true' };
  const [shared, page, browser, simulating, impatient, deployed] = await Promise.all([
    offerSharedStart(),
    offer(startPageEdge),
    startBrowser(),
    bundleWorker(simulator),
    bundleWorker(simulator, 'test/fixtures/impatient-worker.ts'),
    bundleWorker(unstable_readConfig({ config: 'wrangler.toml' }).define),
  ]);
  project.provide('sharedStart', shared.url);
  project.provide('pageEdge', page.url);
  project.provide('browser', browser?.wsEndpoint());
  project.provide('worker', simulating.code);
  project.provide('impatient', impatient.code);
  project.provide('deployed', deployed);
  return async () => {
    await Promise.all([browser?.close(), shared.stop(), page.stop()]);
  };
}
