import { agentsRoom } from './rooms/agents/room.ts';
import { batchesRoom } from './rooms/batches/room.ts';
import { cloudsRoom } from './rooms/clouds/room.ts';
import { evaluationRoom } from './rooms/evaluation/room.ts';
import { filesRoom } from './rooms/files/room.ts';
import { operatorRoom } from './rooms/operator/room.ts';
import { poolsRoom } from './rooms/pools/room.ts';
import type { Room } from './rooms/room.ts';
import { runsRoom } from './rooms/runs/room.ts';
import type { ToolsOptions } from './rooms/runs/tools/worker-tools.ts';
import { summariesRoom } from './rooms/summaries/room.ts';
import { transferRoom } from './rooms/transfer/room.ts';
import { visitorsRoom } from './rooms/visitors/room.ts';
import { webhooksRoom } from './rooms/webhooks/room.ts';
import type { WebhooksOptions } from './rooms/webhooks/webhooks.route.ts';

/** All rooms, in the one order in which the core asks them. A new feature is a new line. */
export const ROOMS: readonly Room[] = [
  visitorsRoom,
  agentsRoom,
  summariesRoom,
  runsRoom,
  transferRoom,
  webhooksRoom,
  batchesRoom,
  filesRoom,
  evaluationRoom,
  cloudsRoom,
  poolsRoom,
  operatorRoom,
];

/** What a Worker decides in its own code for rooms. */
export interface RoomOptions<Inputs extends object = Record<string, unknown>>
  extends WebhooksOptions,
    ToolsOptions<Inputs> {}
