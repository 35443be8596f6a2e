/**
 * What the Worker has in development alone. The module that the build command writes for `wrangler dev` is this one; a deploy has
 * `no-development.mjs` in its place, and nothing of what is imported here.
 */

import { addProviders } from './claude/providers/all-providers.ts';
import { simulatorProvider } from './claude/providers/simulator.ts';
import { createSimulatorUpstream } from './claude/simulator-upstream.ts';
import { registerSimulator } from './claude/upstream.ts';
import { enableDevelopmentMode } from './config/settings.ts';
import { DEMONSTRATION_TOOLS } from './plugins/runs/tools/demonstration.ts';
import { registerWorkerTools } from './plugins/runs/tools/worker-tools.ts';

/** Makes the Worker a development server: it needs no credential, and the simulator answers while there is no key. */
export function develop(): void {
  enableDevelopmentMode();
  addSimulatorAndTrialTools();
}

/** Adds the simulator, and tools to try runs with. */
export function addSimulatorAndTrialTools(): void {
  registerSimulator(createSimulatorUpstream);
  addProviders({ simulator: simulatorProvider });
  registerWorkerTools({ tools: DEMONSTRATION_TOOLS });
}
