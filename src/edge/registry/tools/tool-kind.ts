/** The kinds of tools that the edge calls itself. The core knows how a list names one, and nothing of how it is called. */

import type { Identity } from '../../auth/identity/caller.ts';
import type { Settings } from '../../config/settings.ts';
import type * as z from '../../kit/http/zod.ts';
import { isObject, type JsonObject } from '../../kit/json/object.ts';
import { getPluginMembers, memoizeFromPlugins } from '../../kit/plugins/plugins.ts';

/** How a tool is called: its member `run`, as far as all kinds have the same in it. */
export interface ToolRunConfig {
  approval?: 'always' | { over: { field: string; above: number } } | undefined;
  once?: boolean | undefined;
  timeout_seconds?: number | undefined;
}

/** The role that decides on a waiting call: the account that owns the conversation, or only an admin. */
export type ApproverRole = 'owner' | 'admin';

/**
 * The sender of a list of tools, and whether the list will be stored: an MCP server, for example, is allowed only in a stored
 * list.
 */
export interface ToolListSender {
  identity: Identity;
  settings: Settings;
  isStored: boolean;
}

/** Callbacks while tools are stored. */
export interface StoreToolsHooks {
  /** Called before a server is requested. If it throws, nothing is stored. */
  onServerRequest(): Promise<unknown>;
  /** Called with a sentence about what is stored otherwise than it was sent. */
  warn(sentence: string): void;
  /** Keeps work alive that the answer does not wait for. */
  waitUntil(work: Promise<unknown>): void;
}

export interface EdgeToolKind {
  /** The member of `run` that names it. */
  readonly member: string;
  /** Whether its `run` has no address, so that its owner may read it without the scope `tools`. */
  readonly hasNoAddress?: true;
  /** @returns all that belongs into its `run`, and has no effect beside it. To read it at the start would build its schemas. */
  listRunFieldNames(): readonly string[];
  /** The schemas of `run` in requests, with descriptions for the reference; absent if its tools can only be stored. */
  readonly schemas?: readonly z.ZodMiniType[];
  /** @returns what is wrong with a tool, behind its place in the tool. @throws ApiError 403 for who may not send it */
  findFault(tool: JsonObject, sender: ToolListSender): string | undefined;
  /** @returns how its calls are run; absent: by `run` */
  runOf?(name: string, run: unknown): ToolRunConfig;
  /** Fills in the description for the model. @param text a tool without `run` @returns undefined for a removed tool */
  show?(name: string, text: string): string | undefined;
  /** @returns a value that changes when the descriptions of the tools change */
  mark?(names: readonly string[]): string;
  /** @returns whether the edge has a tool of this name by itself */
  knows?(name: string): boolean;
  /** Brings its tools into their stored form. */
  stored?(tools: unknown[], settings: Settings, storing: StoreToolsHooks): Promise<unknown[]>;
}
declare module '../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Kinds of tools that requests and agents can name. */
    readonly tools?: readonly EdgeToolKind[];
  }
}

export const toolKinds = memoizeFromPlugins(() => getPluginMembers('tools').flat());

/** The field by which tools that are called at an address are recognized. A tool that names no other kind is one of these. */
const ADDRESS_FIELD = 'url';

/** @returns the kind that a tool names; undefined where no plugin in use calls such tools. @param run its own */
export function findKindByRun<Kind extends { readonly member: string }>(
  kinds: readonly Kind[],
  run: unknown,
): Kind | undefined {
  const isNamedByRun = ({ member }: Kind) => (isObject(run) ? Object.hasOwn(run, member) : run === member);
  const others = kinds.filter(({ member }) => member !== ADDRESS_FIELD);
  return others.find(isNamedByRun) ?? kinds.find(({ member }) => member === ADDRESS_FIELD);
}

export function findToolKind(run: unknown): EdgeToolKind | undefined {
  return findKindByRun(toolKinds(), run);
}
