/**
 * Defines what a kind of upstream is: how a request in the form of the Claude API is changed into the form of one service.
 */

import type { SendableBody } from '../../kit/http/body/json-body.ts';
import type * as z from '../../kit/http/zod.ts';
import type { JsonMemberChanges } from '../../kit/json/edit.ts';

/** Headers by their names in lower case. */
export type CallHeaders = Readonly<Record<string, string>>;

/** Changes of a body's top-level members. */
export type BodyChanges = JsonMemberChanges;

/** Makes the body that is sent, with some members changed. It may be called once for each attempt. */
export type RequestBodyFactory = (changes: BodyChanges) => SendableBody;

/** A request in the form of the Claude API, before it is changed into the form of an upstream. */
export interface ClaudeApiCall {
  method: string;
  /** Path and query, beginning with `/v1`. */
  path: string;
  /** The headers that are sent, including `anthropic-version`, without a credential. */
  headers: CallHeaders;
  /** The model, as the body names it; undefined if there is none. */
  model?: string | undefined;
  streams?: boolean | undefined;
  body?: RequestBodyFactory | undefined;
}

/** A request in the form of an upstream, as it is sent. */
export interface UpstreamCall {
  method: string;
  url: string;
  headers: CallHeaders;
  body: SendableBody | undefined;
}

/** The changes that a provider makes to a request. */
export interface CallAdaptation {
  /** The headers that replace those of the call. */
  headers: CallHeaders;
  /** Changes of the body, beside the model's id. */
  changes: BodyChanges;
}

/** The context in which an endpoint gets its credential. */
export interface AuthorizationContext {
  /** Aborted when the caller no longer waits for the response. */
  signal: AbortSignal;
  /** Keeps work alive when the request has ended. */
  waitUntil(work: Promise<unknown>): void;
  /** Used to request credentials. Default: the global `fetch`. */
  fetch?: ((url: string, init: RequestInit) => Promise<Response>) | undefined;
}

/** One upstream, with the functions of its kind. It holds only its own credential. */
export interface ProviderAdapter {
  /** Whether it is the Claude API itself. Default: it is a gateway or a cloud. */
  isClaudeApi?: boolean;
  /** @returns the URL of a call. @param idThere the model's id at this upstream */
  buildUrl(call: ClaudeApiCall, idThere: string | undefined): string;
  /** @returns what changes in a call. Default: nothing. */
  adapt?(call: ClaudeApiCall): CallAdaptation;
  /** @returns the headers that carry the credential, for exactly this request. */
  createAuthorizationHeaders(request: UpstreamCall, context: AuthorizationContext): CallHeaders | Promise<CallHeaders>;
  /** Forgets a credential that it has requested, because the upstream rejects it. */
  forgetCredential?(): void;
  /**
   * @param model the model as the request names it
   * @param id the id of the same model in the model table; if the table does not have it, the name without its date
   * @returns the id of a model if the entry does not say it. Default: as the request names it
   */
  idOf?(model: string, id: string): string;
  /**
   * @param text the body of a 404
   * @param idThere the id by which the model was called
   * @returns whether the body means that the model does not exist there. Default: by the Claude API's error
   */
  missesModel?(text: string, idThere: string): boolean;
  /**
   * @returns the feature that the call needs and this upstream does not have, such as `message batches`; undefined if it
   * takes the call.
   */
  lacks?(call: Pick<ClaudeApiCall, 'method' | 'path' | 'headers'>): string | undefined;
}

/** Thrown by a kind for a credential in the wrong form. The message never contains the credential. */
export class InvalidKeyError extends Error {
  override name = 'InvalidKeyError';
}

/** A kind of upstream, as its file describes it. */
export interface ProviderDefinition<Fields extends z.core.$ZodLooseShape> {
  /** The fields that an entry of UPSTREAMS has for this kind, beside those of every entry. */
  fields: Fields;
  /** @returns what is wrong with fields that are valid one by one but not together; undefined if nothing is wrong. */
  fault?(options: z.core.$InferObjectOutput<Fields, Record<string, unknown>>): string | undefined;
  /** Whether an entry needs no secret. Default: it needs one. */
  keyless?: boolean;
  /** Whether its answers are the simulator's. Default: they are Claude's. */
  simulated?: boolean;
  /**
   * Makes an upstream of this kind.
   *
   * @throws InvalidKeyError for a secret in the wrong form
   */
  createAdapter(options: z.core.$InferObjectOutput<Fields, Record<string, unknown>>, secret: string): ProviderAdapter;
}

/** A kind of upstream, whatever its fields are. They are checked before it is opened. */
export type Provider = ProviderDefinition<z.core.$ZodLooseShape>;

/** Defines a kind. The type of its `open` follows from its fields. */
export function defineProvider<Fields extends z.core.$ZodLooseShape>(kind: ProviderDefinition<Fields>): Provider {
  // `createAdapter` gets only options that were parsed with these `fields`, so the options have the type that it expects.
  return kind as unknown as Provider;
}

/**
 * Reads the secret of an entry as a key for a header. A key with other characters would fail in each request, with an error
 * of the runtime that might quote the key.
 *
 * @throws InvalidKeyError for a secret with spaces, line breaks or letters of other alphabets
 */
export function parseApiKey(secret: string, must = 'must be an API key'): string {
  if (!/^[\x21-\x7e]+$/.test(secret)) throw new InvalidKeyError(`${must}, without spaces and line breaks`);
  return secret;
}
