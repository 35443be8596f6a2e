/**
 * The tools that a Worker defines in its own code. A request names one of them with `run: "worker"`. Its description and
 * schema for the model are filled in here.
 */

import type { AppConfig } from '../../../auth/context.ts';
import { editJson } from '../../../kit/json/edit.ts';
import type { JsonObject } from '../../../kit/json/object.ts';
import type { Bindings } from '../../../kit/plugins/bindings.ts';

/** What a tool knows about its call. */
export interface ToolContext {
  account: string;
  conversation: string;
  turn: string;
  /** The id of the call. It is the same if a crash causes a second call. */
  tool_use_id: string;
  /** Aborted when the run is stopped, or the tool has used up its time. */
  signal: AbortSignal;
  /** The Worker's bindings, settings and secrets. */
  env: Bindings;
}

/** A schema's result for a value, as in Standard Schema. */
export type SchemaCheckResult<Value> =
  | { readonly value: Value; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string; readonly path?: readonly unknown[] | undefined }[] };

/** A schema of `zod`, or of another library that follows Standard Schema and can output JSON Schema. */
export interface ToolSchema<Input = unknown> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaCheckResult<Input> | Promise<SchemaCheckResult<Input>>;
    readonly jsonSchema?: { input(options: { target: 'draft-2020-12' }): JsonObject };
  };
}

/** A tool that the Worker defines. */
export interface WorkerTool<Input = unknown> {
  /** The description for the model: what the tool does, and when to call it. */
  description: string;
  /** The schema of its input, which must be an object. */
  schema: ToolSchema<Input>;
  /**
   * Does the work.
   *
   * @returns a text; a list of blocks `{type: "text", text}` and `{type: "image", source}`; or any other JSON value
   * @throws an error, whose message the model gets as the call's error
   */
  run(input: Input, context: ToolContext): unknown;
  /** Whether the call is never made a second time, even if a crash hides whether it was made. */
  once?: boolean;
  /** How long a call may take, in seconds: 1 to 600. Default: 30. */
  timeout_seconds?: number;
}

/** Tools by their names. `Inputs` are the types of their schemas' values. */
export type WorkerTools<Inputs extends object = Record<string, unknown>> = {
  [Name in keyof Inputs]: WorkerTool<Inputs[Name]>;
};

/** What a Worker decides in its own code for runs. */
export interface ToolsOptions<Inputs extends object = Record<string, unknown>> {
  /** Tools that the edge calls in this Worker itself, for every caller whose request names one with `run: "worker"`. */
  tools?: WorkerTools<Inputs>;
}

interface RegisteredWorkerTool {
  tool: WorkerTool;
  /** Its description and schema for the model, as JSON texts. */
  words: Readonly<Record<'description' | 'input_schema', { ifAbsent: string }>>;
}

/** The tools of all apps of this Worker. Its Durable Objects call them, too, and may start without an app. */
const sharedTools = new Map<string, RegisteredWorkerTool>();

/** @throws Error for a malformed tool, and for a second tool with the same name */
export function registerWorkerTools({ tools = {} }: AppConfig & ToolsOptions): void {
  for (const [name, tool] of Object.entries(tools)) {
    const before = sharedTools.get(name)?.tool;
    if (before && before !== tool) {
      throw new Error(
        `tools.${name}: createApp was called with different tools of this name. Pass the same tool to every call.`,
      );
    }
    const fault = findWorkerToolDefinitionFault(name, tool);
    if (fault !== undefined) throw new Error(`tools.${name}: ${fault}`);
    const { $schema: _, ...schema } = toToolInputJsonSchema(tool) ?? {};
    if (schema.type !== 'object')
      throw new Error(`tools.${name}.schema: must describe an object, because the input of a tool is an object.`);
    const words = { input_schema: toDefaultIfAbsent(schema), description: toDefaultIfAbsent(tool.description) };
    sharedTools.set(name, { tool, words });
  }
}

function toDefaultIfAbsent(value: unknown): { ifAbsent: string } {
  return { ifAbsent: JSON.stringify(value) };
}

function findWorkerToolDefinitionFault(
  name: string,
  { description, run, timeout_seconds: seconds = 1, ...tool }: WorkerTool,
) {
  if (!/^[a-zA-Z0-9_-]{1,128}$/.test(name)) return 'must be named with 1 to 128 letters, digits, _ and -.';
  if (typeof description !== 'string' || description === '')
    return 'requires a description, which tells the model when to call it.';
  if (typeof run !== 'function') return 'run must be a function.';
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > 600) {
    return 'timeout_seconds must be an integer from 1 to 600.';
  }
  if (toToolInputJsonSchema(tool) === undefined)
    return 'schema must be a schema of `zod` (not `zod/mini`), or another Standard Schema with a JSON Schema.';
  return undefined;
}

function toToolInputJsonSchema({ schema }: Pick<WorkerTool, 'schema'>): JsonObject | undefined {
  return schema?.['~standard']?.jsonSchema?.input({ target: 'draft-2020-12' });
}

/** @returns a Worker's tool by its name; undefined if there is none */
export function findWorkerTool(name: string): WorkerTool | undefined {
  return sharedTools.get(name)?.tool;
}

export function listWorkerToolNames(): string[] {
  return [...sharedTools.keys()];
}

/**
 * Fills in a tool's description and schema for the model, if the request does not have them.
 *
 * @param text the tool as JSON text, with its name
 * @returns undefined for a tool that this Worker no longer has
 */
export function fillInWorkerToolDefinition(name: string, text: string): string | undefined {
  const words = sharedTools.get(name)?.words;
  return words && editJson(text, words);
}

/** @returns a hash of the descriptions and schemas of some tools. It changes when a deploy changes them. */
export function hashWorkerTools(names: Iterable<string>): string {
  let mark = 0;
  const texts = [...names].sort().map((name) => JSON.stringify(sharedTools.get(name)?.words));
  // FNV-1a is sufficient: this fingerprint only has to detect changes, and need not resist attacks.
  for (const character of texts.join()) mark = Math.imul(mark ^ character.charCodeAt(0), 0x01000193);
  return mark.toString(36);
}
