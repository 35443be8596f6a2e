/** The kinds of tools that the edge calls itself. */

import { findKind, type ToolRun } from '../../registry/tools/tool-kind.ts';
import { mcpKind } from './mcp/call-mcp.ts';
import { httpKind } from './post-call.ts';
import { subagentKind } from './subagents/subagent-kind.ts';
import type { CalledKind } from './tool-kind.ts';
import { workerKind } from './tools/worker-kind.ts';

export const CALLED_KINDS: readonly CalledKind[] = [workerKind, httpKind, subagentKind, mcpKind];

/** @returns the kind of a tool that the edge calls; undefined for any other */
export function calledKindOf(run: ToolRun | undefined): CalledKind | undefined {
  return run && findKind(CALLED_KINDS, run);
}
