import type { Scope } from '../../gate/identity/identity.ts';
import type * as z from '../http/zod.ts';
import type { ErrorStatus } from './errors.ts';

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** The body of a request or an answer. The example must satisfy the schema. */
export interface Content {
  /** Default: `application/json`. */
  type?:
    | 'application/json'
    | 'application/jsonl'
    | 'application/x-jsonl'
    | 'text/csv'
    | 'text/event-stream'
    | 'application/openmetrics-text'
    | 'multipart/form-data'
    | 'application/octet-stream';
  schema: z.ZodMiniType;
  example: unknown;
}

/** One answer of a route. */
export interface Answer {
  description: string;
  /** Absent if there is no body; several if the request decides which one it gets. */
  content?: readonly Content[];
  headers?: readonly string[];
  /** Whether rooms add their headers to it. */
  isOfRooms?: boolean;
}

/**
 * A route as a caller sees it. Everything that all routes have is added automatically: the parameters of the path, the errors
 * of bodies and credentials, the headers with ids.
 */
export interface Route {
  /** Its name in generated clients. */
  operation: string;
  summary: string;
  description?: string;
  /** The scope that it needs. `credential`: any scope will do; `signature`: the body must be signed; `nothing`: it is public. */
  needs: Scope | 'credential' | 'signature' | 'nothing';
  query?: z.ZodMiniObject;
  /** Request headers beside the credential. */
  headers?: z.ZodMiniObject;
  body?: Content;
  /** The answer with the status 200. */
  answer?: Answer;
  /** The answers with other statuses, and also with 200 if there are several answers. */
  answers?: Readonly<Record<number, Answer>>;
  /** Errors beside those that every body and every credential can cause. */
  errors?: readonly ErrorStatus[];
}

/** The routes of one resource, by method and path as the router has them. */
export interface Resource {
  tag: string;
  description: string;
  /** The parameters of its paths, with an example of each. */
  parameters?: Readonly<Record<string, { description: string; example: string }>>;
  routes: Readonly<Record<RouteName, Route>>;
}

type RouteName = `${Method} /${string}`;

/** A route as the file of its resource describes it. */
export type RouteTexts = Partial<Pick<Route, 'needs'>> & Omit<Route, 'needs'>;

/** A resource as its file describes it. `needs` and `errors` apply to each route that does not override them. */
interface ResourceTexts extends Omit<Resource, 'routes'>, Pick<Route, 'needs' | 'errors'> {
  routes: Readonly<Record<RouteName, RouteTexts>>;
}

/** Describes a resource. */
export function resource({ needs, errors = [], routes, ...texts }: ResourceTexts): Resource {
  const described = Object.entries(routes).map(([name, route]) => [name, { needs, errors, ...route }]);
  return { ...texts, routes: Object.fromEntries(described) };
}

/** @returns the answers of a route by their statuses. */
export function answersOf({ answer, answers }: Route): Readonly<Record<number, Answer>> {
  return { ...(answer && { 200: answer }), ...answers };
}
