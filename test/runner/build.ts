import type { TestProject } from 'vitest/node';
import { SHIPPED_SOURCES } from '#edge/plugins/webhooks/shipped-sources.ts';
import { startBrowser } from '#test/support/browser.ts';
import { bundleWorker } from '#test/support/bundle-worker.ts';
import { startPageEdge } from '#test/support/page-edge.ts';
import { offerSharedStart, offerStart } from '#test/support/shared-start.ts';
import { type BuiltWorker, buildWorker } from '../../scripts/build-worker.ts';
import { addSecrets, secretOfSource } from '../../scripts/dev-vars.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** The code of the Worker as a development server: it has the simulator, and asks for no credential. */
    worker: string;
    /** The same with the shortest patience everywhere: test/fixtures/impatient-worker.ts. */
    impatient: string;
    /** The Worker as it is deployed. */
    deployed: BuiltWorker;
  }
}

/**
 * Builds the Workers and the page, and starts the browser, once for all tests that run them in processes of their own.
 *
 * @returns what ends the browser, and the edges that tests share
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // Added by one server, they would make those start again that run beside it.
  await addSecrets(SHIPPED_SOURCES.map(secretOfSource));
  // Before a server starts: the build command writes one module for all commands of wrangler, which bundle it next.
  const [browser, deployed, worker, impatient] = await Promise.all([
    startBrowser(),
    buildWorker(),
    bundleWorker(),
    bundleWorker('test/fixtures/impatient-worker.ts'),
  ]);
  const [shared, page] = await Promise.all([offerSharedStart(), offerStart(startPageEdge)]);
  project.provide('sharedStart', shared.url);
  project.provide('pageEdge', page.url);
  project.provide('browser', browser?.wsEndpoint());
  project.provide('worker', worker);
  project.provide('impatient', impatient);
  project.provide('deployed', deployed);
  return async () => {
    await Promise.all([browser?.close(), shared.stop(), page.stop()]);
  };
}
