import type { TestProject } from 'vitest/node';
import { build } from '../../scripts/build.ts';
import { addSecrets, readDevVars } from '../../scripts/dev-vars.ts';
import { startBrowser } from './browser.ts';
import { type Bundle, buildWorker } from './edge.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** The code of the built Worker, with the simulator in it. */
    worker: string;
    /** The Worker as it is deployed. */
    deployed: Bundle;
  }
}

/**
 * Builds the Workers, and starts the browser, once for all tests that run them in processes of their own.
 *
 * @returns what ends the browser
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // Added by one server, they would make those start again that run beside it.
  await addSecrets(await readDevVars());
  await build();
  const [browser, simulating, deployed] = await Promise.all([
    startBrowser(),
    buildWorker(['--define', 'SLUICE_SIMULATOR:true']),
    buildWorker(),
  ]);
  project.provide('browser', browser?.wsEndpoint());
  project.provide('worker', simulating.code);
  project.provide('deployed', deployed);
  return async () => await browser?.close();
}
