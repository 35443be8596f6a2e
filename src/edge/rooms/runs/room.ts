import type { Room } from '../room.ts';
import { toolSecretsOf } from './tools/tool-secrets.ts';
import { shareToolsOf, workerToolNames } from './tools/worker-tools.ts';

/** Runs: the edge calls tools itself. */
export const runsRoom: Room = {
  name: 'runs',
  options: shareToolsOf,
  settings: { check: toolSecretsOf },
  health: ({ development }) => (development ? { tools: workerToolNames() } : {}),
};
