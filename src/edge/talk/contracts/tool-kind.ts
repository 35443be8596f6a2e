/** The kinds of tools that the edge calls itself. The core knows how a list names one, and nothing of how it is called. */

import type { Identity } from '../../gate/identity/caller.ts';
import type { Settings } from '../../gate/settings/settings.ts';
import type * as z from '../../kit/http/zod.ts';
import { isObject, type Json } from '../../kit/json/object.ts';
import { ofRooms, pluggedInto, seam } from '../../kit/rooms/rooms.ts';

/** How a tool is called: its member `run`, as far as all kinds have the same in it. */
export interface ToolRun {
  approval?: 'always' | { over: { field: string; above: number } } | undefined;
  once?: boolean | undefined;
  timeout_seconds?: number | undefined;
}

/** Who sends a list of tools, and whether it will be stored: an MCP server, for one, is allowed only there. */
export interface ToolSender {
  identity: Identity;
  settings: Settings;
  isStored: boolean;
}

export interface ToolKind {
  /** The member of `run` that names it. */
  readonly member: string;
  /** @returns all that belongs into its `run`, and has no effect beside it. To read it at the start would build its schemas. */
  names(): readonly string[];
  /** What requests may say as `run`, with words for the reference; absent where its tools are only stored. */
  readonly asked?: readonly z.ZodMiniType[];
  /** @returns what is wrong with a tool, behind its place in the tool. @throws ApiError 403 for who may not send it */
  fault(tool: Json, sender: ToolSender): string | undefined;
  /** @returns how its calls are made; absent: as `run` says */
  runOf?(name: string, run: unknown): ToolRun;
  /** Fills in what the model is told. @param text a tool without `run` @returns undefined for a tool that is there no more */
  told?(name: string, text: string): string | undefined;
  /** @returns what changes when what is told of tools changes */
  mark?(names: readonly string[]): string;
  /** @returns whether the edge has a tool of this name by itself */
  knows?(name: string): boolean;
  /** Brings its tools into their stored form. @param onAsking called before a server is asked; it throws where none may be */
  stored?(tools: unknown[], settings: Settings, onAsking: () => Promise<unknown>): Promise<unknown[]>;
}
/** Who calls tools of a kind reads the same member, and knows more of it. */
const TOOL_KINDS = seam<readonly ToolKind[]>()('tools');

export const toolKinds = ofRooms(() => pluggedInto(TOOL_KINDS).flat());

/** The rooms of those that releases have had, in the order in which `run` is searched for their members. */
const ROOMS_OF_KINDS: Readonly<Record<string, string>> = { worker: 'runs', agent: 'subagents', mcp: 'mcp' };

/** @returns the member that names the kind of a tool. @param run its own */
export function memberNaming(run: unknown): string {
  if (run === 'worker') return run;
  const members = [...Object.keys(ROOMS_OF_KINDS), ...toolKinds().map(({ member }) => member)];
  return (isObject(run) && members.find((member) => Object.hasOwn(run, member))) || 'url';
}

/** @returns the kind of a tool; undefined where its room is not in use */
export function toolKindOf(run: unknown): ToolKind | undefined {
  const named = memberNaming(run);
  return toolKinds().find(({ member }) => member === named);
}

/** @returns the room that calls such a tool */
export function roomOf(run: unknown): string {
  return ROOMS_OF_KINDS[memberNaming(run)] ?? 'runs';
}
