/** How tools of a kind are called. */

import type { Settings } from '../../config/settings.ts';
import type { SecretSettings } from '../../config/tool-secrets.ts';
import type { TurnRequest, TurnRequestMetadata } from '../../conversations/object/contract.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import type { EdgeToolKind, ToolRunConfig } from '../../registry/tools/tool-kind.ts';
import type { SubagentBudgetShare } from './call-rows.ts';
import type { RemainingResultBytes, ToolCall, ToolResult, WaitForMemory } from './tool-result.ts';

/** The settings that decide how tools are called. */
export type ToolCallSettings = Pick<Settings, 'TOOL_HOSTS' | 'TOOL_SIGNING_SECRET'> & SecretSettings;

/** The options of a call. */
export interface ToolCallOptions {
  settings: ToolCallSettings;
  fetch: (url: string, init: RequestInit) => Promise<Response>;
  /** Milliseconds since 1970. */
  now: number;
  /** The bytes that are left for the answer. The call subtracts the bytes that it has received. */
  resultBytes: RemainingResultBytes;
  hold: WaitForMemory;
  /** Milliseconds that are left of the run. The call ends by then. */
  leftMs: number;
  /** Aborted when the run is stopped. */
  signal: AbortSignal;
  /** Present only if the tool works apart. */
  apart?: SubagentCallState | undefined;
}

/** The additional options of a call to a tool that works apart, such as a subagent. */
export interface SubagentCallState {
  /** The subagent's limit and spending. Both change with each attempt. */
  share: SubagentBudgetShare;
  /** Stores the share after a change. */
  noteShare(): void;
  /** Whether it may have been begun before a crash. */
  isAgain: boolean;
  /** Whether that was so long ago that a failed attempt may be forgotten already. */
  isLate: boolean;
}

/** What subagents take over from the request of the run that calls them. */
export interface RequestInheritedBySubagents
  extends Pick<TurnRequest, 'caller' | 'headers' | 'query'>,
    Pick<TurnRequestMetadata, 'route'> {
  /** How deep the run is. A run that a client has begun is at 1. */
  depth: number;
  /** How long its conversation is kept, in seconds; null means the deployment's retention. */
  retentionSeconds: number | null;
  /**
   * @returns the account that has stored a tool with the conversation's agent or prefix; undefined for the caller's own tool
   */
  findToolOwner(tool: string): string | undefined;
}

/** A run whose calls are made. */
export interface ToolKindRunContext {
  settings: Settings;
  env: Bindings;
  account: string;
  /** What subagents take over from the run's request. */
  request: RequestInheritedBySubagents;
}

/** Makes the calls of a run to the tools of a kind. `Run` is their member `run`. */
export interface ToolKindCaller<Run extends ToolRunConfig = ToolRunConfig> {
  /**
   * Makes a call, and takes memory for its result.
   *
   * @param signal aborted when the run is stopped or the time of the tool is over
   * @throws if the tool could not be reached
   */
  callTool(call: ToolCall, run: Run, options: ToolCallOptions, signal: AbortSignal): Promise<ToolResult>;
  close?(): void;
}

/** The name of a call, by which it is known after a crash, too. */
export type ToolCallKey = Pick<ToolCall, 'conversation' | 'turn' | 'tool_use_id'>;

export interface CallableToolKind<Run extends ToolRunConfig = ToolRunConfig> extends EdgeToolKind {
  /**
   * Whether inputs are checked against the tool's `input_schema` before a call; absent if the called tool checks them itself.
   */
  readonly checksInput?: boolean;
  /**
   * Present if its tools work apart: each call has a share of the run's budget and its own conversation, to which another call
   * attaches after a crash. The call enforces its own timeout, and stops the work.
   *
   * @returns the id of the conversation
   */
  apart?(call: ToolCallKey): Promise<string>;
  /** Made at the first call of a run. */
  createToolCaller(run: ToolKindRunContext): ToolKindCaller<Run>;
}
