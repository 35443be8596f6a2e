import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import type * as z from '../../kit/http/zod.ts';
import type { JsonObject } from '../../kit/json/object.ts';

/** Defines a request field that only the edge reads. It is never sent to the upstream. */
export interface RequestFieldDefinition<T = unknown> {
  /** The schema, with its description for the reference. */
  schema: z.ZodMiniType<T | undefined>;
  /** A header that may say it, for clients that cannot add members. */
  header?: `sluice-${string}`;
  /** How its header is read, if the body never contains it. */
  ofHeader?: (text: string) => unknown;
  /** Whether null is the same as its absence. */
  mayBeNull?: boolean;
  /** Whether it changes the length of the prompt. */
  inPrompt?: boolean;
  /**
   * Who may set the field: a restricted token, the caller of an agent, an item of a batch. A token count without a conversation
   * uses the fields that are open to `count`, and leaves out the others.
   */
  open?: readonly ('bound' | 'agent' | 'item' | 'count')[];
  /** Whether it is a limit of a run. An agent lowers it, and where nothing runs it is sent unchanged. */
  isLimit?: boolean;
  /** Whether to send the field unchanged if no part of the edge reads it, so that the API rejects it. */
  goesUp?: boolean;
  /** The value that its conversation stores, if it needs a conversation. */
  keeps?: string;
  /** The error for a request that sets the field without naming an agent, if the field needs one. */
  withoutAgent?: string;
}

/** The fields that the core reads, including those that plugins declare. */
export interface RequestFieldValues {
  conversation: string;
  prefix: string;
  agent: string;
  show: string;
  stream_cost: 'true';
  background: boolean;
  retry: boolean;
  deliver_url: string;
  on_pending_tools: 'refuse' | 'cancel';
  model: string;
  fallback_models: readonly string[];
}

export type RequestFieldDefinitions = { readonly [name: string]: RequestFieldDefinition } & CoreRequestFieldDefinitions;
export type CoreRequestFieldDefinitions = {
  readonly [Name in keyof RequestFieldValues]?: RequestFieldDefinition<RequestFieldValues[Name]>;
};

declare module '../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Request fields that are for the edge: each with its schema, its description and the callers that may set it. */
    readonly members?: RequestFieldDefinitions;
  }
}

/**
 * Reads a member of a request: from its body, or from its header.
 *
 * @returns undefined if neither is present
 * @throws ApiError 400 for a malformed value, and if body and header differ
 */
export function parseRequestField<T>(
  name: string,
  { schema, header = undefined, ofHeader, mayBeNull }: RequestFieldDefinition<T>,
  headers: Headers | undefined,
  body: JsonObject,
): T | undefined {
  const inHeader = (header && headers?.get(header)) ?? undefined;
  const inBody = ofHeader || (mayBeNull && body[name] === null) ? undefined : body[name];
  const present = inBody === undefined ? inHeader : inBody;
  if (present === undefined) return undefined;
  if (ofHeader && inHeader !== undefined) return validateBySchema(schema, ofHeader(inHeader), header);
  const value = validateBySchema(schema, present, name);
  if (inHeader === undefined || inHeader === value) return value;
  throw createInvalidRequestError(`${name}: the body and the header ${header} differ. Send only one of them.`);
}
