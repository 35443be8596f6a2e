import type { GuardedRoute } from '../auth/guard-errors.ts';
import { type AnyRoute, getQuerySchema } from '../auth/route.ts';
import { getOrCreate } from '../kit/cache/get-or-create.ts';
import * as z from '../kit/http/zod.ts';
import { removeUndefined } from '../kit/json/object.ts';
import type { ErrorStatus } from './errors.ts';

/** The body of a request or an answer. The example must satisfy the schema. */
export interface BodyContent {
  /** Default: `application/json`. */
  type?:
    | 'application/json'
    | 'application/jsonl'
    | 'application/x-jsonl'
    | 'text/csv'
    | 'text/event-stream'
    | 'application/openmetrics-text'
    | 'text/plain'
    | 'multipart/form-data'
    | 'application/octet-stream';
  schema: z.ZodMiniType;
  example: unknown;
}

export interface DescribedResponse {
  description: string;
  /** Absent if there is no body; several if the request decides which one it gets. */
  content?: readonly BodyContent[];
  headers?: readonly string[];
  /** Whether plugins add their headers to it. */
  hasPluginHeaders?: boolean;
}

/** The words for a body whose schema the route has. */
interface RequestBodyDescription extends Pick<BodyContent, 'example'> {
  /** The name of its schema in the document. */
  id?: string;
  /** Replaces the schema of the route, if the reference describes more than is validated at once. */
  schema?: z.ZodMiniType;
}

/** The part of a route's description that is not in its own file: the texts for callers. */
interface RouteDescription {
  /** Its name in generated clients. */
  operation: string;
  summary: string;
  description?: string;
  /** Request headers in addition to the credential. */
  headers?: z.ZodMiniObject;
  answer?: DescribedResponse;
  /** The answers with other statuses, and also with 200 if there are several answers. */
  answers?: Readonly<Record<number, DescribedResponse>>;
  /** Errors in addition to those that every body and every credential can cause. */
  errors?: readonly ErrorStatus[];
}

/** The description of a route. Its parameters are described here only if no schema validates them. */
type DescriptionOfRoute<R extends AnyRoute> = RouteDescription &
  ([NonNullable<R['body']>] extends [never] ? { body?: BodyContent } : { body: RequestBodyDescription }) &
  ([Exclude<NonNullable<R['query']>, () => unknown>] extends [never] ? { query?: z.ZodMiniObject } : unknown);

/**
 * A route as a caller sees it. Everything that all routes have is added automatically: the parameters of the path, the errors
 * of bodies and credentials, the headers with ids.
 */
export interface DescribedRoute extends RouteDescription, GuardedRoute {
  query?: z.ZodMiniObject | undefined;
  body?: BodyContent | undefined;
}

/** The routes of one resource, by method and path as the router has them. */
export interface ApiResource {
  tag: string;
  /** Absent for the routes that a plugin adds to a resource of the core. */
  description?: string;
  /** The parameters of its paths, with an example of each. */
  parameters?: Readonly<Record<string, { description: string; example: string }>>;
  /** The errors of each route that does not list its own. */
  errors?: readonly ErrorStatus[];
  routes: Readonly<Record<string, DescribedRoute>>;
}

const namedSchemas = new WeakMap<z.ZodMiniType, z.ZodMiniType>();

/**
 * Adds words to routes.
 *
 * @param texts the words of each of them by its name, in the order in which the page shows them
 */
export function describeRoutes<R extends AnyRoute>(
  routes: readonly R[],
  texts: { readonly [Name in R['name']]: DescriptionOfRoute<Extract<R, { name: Name }>> },
): Record<string, DescribedRoute> {
  return describeDynamicRoutes(routes, texts);
}

/** The same for routes whose names are made. */
export function describeDynamicRoutes(
  routes: readonly AnyRoute[],
  wordsOfAll: Readonly<Record<string, RouteDescription & { body?: RequestBodyDescription; query?: z.ZodMiniObject }>>,
): Record<string, DescribedRoute> {
  const byName = new Map<string, AnyRoute>(routes.map((route) => [route.name, route]));
  return Object.fromEntries(
    Object.entries(wordsOfAll).map(([name, { body, query, ...texts }]) => {
      const route = byName.get(name);
      if (!route) throw new Error(`There is no route ${name}.`);
      const { needs, endsSpending, tokenLimit, checksRevocation } = route;
      const terms = { needs, ...removeUndefined({ endsSpending, tokenLimit, checksRevocation }) };
      return [
        name,
        { ...texts, ...terms, query: query ?? getQuerySchema(route), body: body && createBodyContent(route, body) },
      ];
    }),
  );
}

function createBodyContent({ body }: AnyRoute, { id, schema = body, ...content }: RequestBodyDescription): BodyContent {
  if (!schema) throw new Error('Neither the route nor its words have a schema of its body.');
  const named = id === undefined ? schema : getOrCreate(namedSchemas, schema, () => z.addReferenceMeta(schema, { id }));
  return { ...content, schema: named };
}

/** @returns the answers of a route by their statuses. */
export function getResponsesByStatus({ answer, answers }: DescribedRoute): Readonly<Record<number, DescribedResponse>> {
  return { ...(answer && { 200: answer }), ...answers };
}
