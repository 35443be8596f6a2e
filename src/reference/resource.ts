import type * as z from '../http/zod.ts';
import type { Scope } from '../identity/identity.ts';
import type { ErrorStatus } from './errors.ts';
import type { HeaderName } from './headers.ts';

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** What stands in a request or an answer; an example must hold to its schema. */
export interface Content {
  /** Default: `application/json`. */
  type?: 'application/json' | 'application/jsonl' | 'text/event-stream';
  schema: z.ZodMiniType;
  example: unknown;
}

export interface Answer {
  description: string;
  /** Absent where there is no body; several where the request decides. */
  content?: readonly Content[];
  headers?: readonly HeaderName[];
}

/**
 * A route as a caller sees it. What follows from the rest is not said again: the parameters of its path, the errors of
 * every body and of every credential, the ids in the headers.
 */
export interface Route {
  /** Its name in generated clients. */
  operation: string;
  summary: string;
  description?: string;
  /** The scope that it asks for; `credential` is satisfied with any, `signature` is its body's, `nothing` is public. */
  needs: Scope | 'credential' | 'signature' | 'nothing';
  query?: z.ZodMiniObject;
  /** Request headers beside the credential. */
  headers?: z.ZodMiniObject;
  body?: Content;
  answers: Readonly<Record<number, Answer>>;
  /** Errors beside those of every body and of every credential. */
  errors?: readonly ErrorStatus[];
}

/** The routes of one resource, by method and path as the router has them. */
export interface Resource {
  tag: string;
  description: string;
  /** The parameters of its paths, with an example of each. */
  parameters?: Readonly<Record<string, { description: string; example: string }>>;
  routes: Readonly<Record<`${Method} /${string}`, Route>>;
}
