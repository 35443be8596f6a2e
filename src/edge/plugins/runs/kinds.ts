/** The kinds of tools that the edge calls itself. */

import { kindNamed, type ToolRun } from '../../registry/tools/tool-kind.ts';
import type { CalledKind } from './called-kind.ts';
import { mcpKind } from './mcp/call-mcp.ts';
import { httpKind } from './post-call.ts';
import { subagentKind } from './subagents/subagent-kind.ts';
import { workerKind } from './tools/worker-kind.ts';

export const CALLED_KINDS: readonly CalledKind[] = [workerKind, httpKind, subagentKind, mcpKind];

/** @returns the kind of a tool that the edge calls; undefined for any other */
export function calledKindOf(run: ToolRun | undefined): CalledKind | undefined {
  return run && kindNamed(CALLED_KINDS, run);
}
