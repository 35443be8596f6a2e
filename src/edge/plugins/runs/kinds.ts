/** The kinds of tools that the edge calls itself. */

import { findKindByRun, type ToolRunConfig } from '../../registry/tools/tool-kind.ts';
import { mcpKind } from './mcp/call-mcp.ts';
import { httpKind } from './post-call.ts';
import { subagentKind } from './subagents/subagent-kind.ts';
import type { CallableToolKind } from './tool-kind.ts';
import { workerKind } from './tools/worker-kind.ts';

export const CALLED_KINDS: readonly CallableToolKind[] = [workerKind, httpKind, subagentKind, mcpKind];

/** @returns the kind of a tool that the edge calls; undefined for any other */
export function getCallableToolKind(run: ToolRunConfig | undefined): CallableToolKind | undefined {
  return run && findKindByRun(CALLED_KINDS, run);
}
