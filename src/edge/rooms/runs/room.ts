import { toolSecretsOf } from '../../gate/settings/tool-secrets.ts';
import type { Room } from '../room.ts';
import { COPIED_CALLS } from './copied-calls.ts';
import { runsPart } from './part.ts';
import { httpKind } from './post-call.ts';
import { RUN_ROWS } from './run-rows.ts';
import { RUN_MEMBERS } from './runs.schema.ts';
import { workerKind } from './tools/worker-kind.ts';
import { shareToolsOf, workerToolNames } from './tools/worker-tools.ts';

/** For the reference alone: no Worker has them in it. */
export const RUN_HEADER_WORDS = {
  'sluice-paused': 'Why a run has paused, where the answer does not stream; a stream says it in a comment.',
};

/** Runs: the edge calls tools itself. */
export const runsRoom: Room = {
  name: 'runs',
  headers: ['sluice-paused'],
  conversation: runsPart,
  rows: RUN_ROWS,
  copied: COPIED_CALLS,
  members: RUN_MEMBERS,
  tools: [workerKind, httpKind],
  options: shareToolsOf,
  settings: { check: toolSecretsOf },
  health: ({ development }) => (development ? { tools: workerToolNames() } : {}),
};
