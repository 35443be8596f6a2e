/**
 * What the Worker has in addition when plain `wrangler dev` runs it: without a key it answers by the simulator, and asks
 * for no credential. The file that scripts/build.ts writes for that command imports this one. All others import
 * `no-development.ts`.
 */

import { shareSimulator, simulatorUpstream } from './claude/upstream.ts';
import { openWithoutKey } from './gate/settings/settings.ts';
import { demonstrationTools } from './rooms/runs/tools/demonstration.ts';

openWithoutKey();
shareSimulator(simulatorUpstream);

export const development = { tools: demonstrationTools };
