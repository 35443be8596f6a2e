/**
 * What the Worker has in addition when plain `wrangler dev` runs it: without a key it answers by the simulator, and asks
 * for no credential. The file that scripts/build.ts writes for that command imports this one. All others import
 * `no-development.ts`.
 */
import { openWithoutKey } from './settings/settings.ts';
import { demonstrationTools } from './tools/demonstration.ts';
import { shareSimulator, simulatorUpstream } from './upstream/upstream.ts';

openWithoutKey();
shareSimulator(simulatorUpstream);

export const development = { tools: demonstrationTools };
