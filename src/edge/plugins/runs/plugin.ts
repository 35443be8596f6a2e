import { toolSecretsOf } from '../../config/tool-secrets.ts';
import { agents } from '../agents/plugin.ts';
import type { Plugin } from '../plugin.ts';
import { APPROVAL_ROUTES } from './approvals/approvals.route.ts';
import { approvalsPart } from './approvals/part.ts';
import { BACKGROUND_MEMBERS, backgroundPart } from './background/part.ts';
import { COPIED_CALLS } from './copied-calls.ts';
import { CALLED_KINDS } from './kinds.ts';
import { runsPart } from './part.ts';
import { RUN_ROWS } from './run-rows.ts';
import { RUN_MEMBERS } from './runs.schema.ts';
import { subagentsPart } from './subagents/part.ts';
import { listWorkerToolNames, registerWorkerTools } from './tools/worker-tools.ts';

/** For the reference alone: no Worker has them in it. */
export const RUN_HEADER_WORDS = {
  'sluice-paused': 'Why the run paused, if the response does not stream. A stream contains it in a comment.',
};

/**
 * Runs: the edge calls tools itself, over HTTP, of MCP servers and of its own code, and agents as tools. Calls can wait for
 * approvals; turns can run in the background.
 */
export const runs: Plugin = {
  name: 'runs',
  needs: [agents],
  routes: APPROVAL_ROUTES,
  headers: ['sluice-paused'],
  conversation: [runsPart, approvalsPart, backgroundPart, subagentsPart],
  rows: RUN_ROWS,
  copied: COPIED_CALLS,
  members: { ...RUN_MEMBERS, ...BACKGROUND_MEMBERS },
  tools: CALLED_KINDS,
  options: registerWorkerTools,
  settings: { check: toolSecretsOf },
  health: ({ development }) => (development ? { tools: listWorkerToolNames() } : {}),
};
