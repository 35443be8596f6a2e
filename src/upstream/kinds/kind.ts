/** What a kind of upstream is: how a request of the Claude API's own form is put into the form that one service takes. */

import type { Sendable } from '../../http/sendable.ts';
import type * as z from '../../http/zod.ts';
import type { Changes } from '../../json/edit.ts';

/** Headers by their names in lower case. */
export type CallHeaders = Readonly<Record<string, string>>;

/** Changes of a body's outermost members. */
export type BodyChanges = Changes;

/** Makes the body that goes up, with some members changed. It may be called once for each try. */
export type BodyMaker = (changes: BodyChanges) => Sendable;

/** A request in the form of the Claude API, before it is put into the form of an upstream. */
export interface CanonicalCall {
  method: string;
  /** Path and query, beginning with `/v1`. */
  path: string;
  /** The headers that go up, `anthropic-version` among them, without a credential. */
  headers: CallHeaders;
  /** The model, as the body names it. Undefined where there is none. */
  model?: string | undefined;
  streams?: boolean | undefined;
  body?: BodyMaker | undefined;
}

/** A request in the form of an upstream, as it is sent. */
export interface AdaptedCall {
  method: string;
  url: string;
  headers: CallHeaders;
  body: Sendable | undefined;
}

/** What a kind changes of a request. */
export interface Adaptation {
  /** The headers that go up in place of the call's. */
  headers: CallHeaders;
  /** What is changed in the body, beside the model's id. */
  changes: BodyChanges;
}

/** What an endpoint works with when it proves who it is. */
export interface Authorizing {
  /** Aborted when nobody waits for the answer any more. */
  signal: AbortSignal;
  /** Lets work run on when the request has ended. */
  waitUntil(work: Promise<unknown>): void;
  /** How credentials are asked for. Default: the global `fetch`. */
  fetch?: ((url: string, init: RequestInit) => Promise<Response>) | undefined;
}

/** One upstream as its kind reaches it. It holds its own credential and no other. */
export interface Endpoint {
  /** @returns the URL that a call goes to. `idThere` is the model's id at this upstream. */
  address(call: CanonicalCall, idThere: string | undefined): string;
  /** @returns what changes of a call. Default: nothing. */
  adapt?(call: CanonicalCall): Adaptation;
  /** @returns the headers that carry the credential, for exactly this request. */
  authorize(request: AdaptedCall, by: Authorizing): CallHeaders | Promise<CallHeaders>;
  /**
   * @param model as the request names it
   * @param known the id of the same model in the model table; where it has none, the name without its date
   * @returns the id of a model where the entry does not say it. Default: as the request names it
   */
  idOf?(model: string, known: string): string;
  /**
   * @param text the body of a 404
   * @param idThere the id by which the model was called
   * @returns whether it says that the model is not there. Default: as the Claude API says it
   */
  missesModel?(text: string, idThere: string): boolean;
  /** @returns what this upstream does not have and the call asks for, such as `message batches`; undefined if it takes the call. */
  lacks?(call: Pick<CanonicalCall, 'method' | 'path' | 'headers'>): string | undefined;
}

/** Thrown by a kind for a credential that has not the form it needs. The message never has the credential in it. */
export class KeyFault extends Error {
  override name = 'KeyFault';
}

/** A kind of upstream, as its file describes it. */
export interface KindOf<Fields extends z.core.$ZodLooseShape> {
  /** What an entry of UPSTREAMS has for this kind, beside what every entry has. */
  fields: Fields;
  /** @returns what is wrong with fields that are right by themselves; undefined if nothing is. */
  fault?(options: z.core.$InferObjectOutput<Fields, Record<string, unknown>>): string | undefined;
  /** Whether an entry needs no secret. Default: it needs one. */
  keyless?: boolean;
  /** Whether its answers are the simulator's. Default: they are Claude's. */
  simulated?: boolean;
  /**
   * Makes an upstream of this kind.
   *
   * @throws KeyFault for a secret that has not the form of this kind
   */
  open(options: z.core.$InferObjectOutput<Fields, Record<string, unknown>>, secret: string): Endpoint;
}

/** A kind of upstream whose fields have been checked elsewhere. */
export type Kind = KindOf<z.core.$ZodLooseShape>;

/** @returns a kind; its fields decide the type of what it is opened with. */
export function defineKind<Fields extends z.core.$ZodLooseShape>(kind: KindOf<Fields>): Kind {
  return kind as unknown as Kind;
}
