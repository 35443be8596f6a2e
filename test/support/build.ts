import type { TestProject } from 'vitest/node';
import { build } from '../../scripts/build.ts';
import { addSecrets, readDevVars } from '../../scripts/dev-vars.ts';
import { type Bundle, buildWorker } from './edge.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** The code of the built Worker, with the simulator in it. */
    worker: string;
    /** The Worker as it is deployed. */
    deployed: Bundle;
  }
}

/** Builds the Workers once for all tests that run them in processes of their own. */
export default async function setup(project: TestProject): Promise<void> {
  // Added by one server, they would make those start again that run beside it.
  await addSecrets(await readDevVars());
  await build();
  project.provide('worker', (await buildWorker(['--define', 'SLUICE_SIMULATOR:true'])).code);
  project.provide('deployed', await buildWorker());
}
