import type { Context, Handler, MiddlewareHandler } from 'hono';
import { createMiddleware } from 'hono/factory';
import type { HonoBase } from 'hono/hono-base';
import { createInvalidRequestError } from '../kit/http/errors.ts';
import { pageSchema } from '../kit/http/page.ts';
import { validateBySchema } from '../kit/http/validate.ts';
import * as z from '../kit/http/zod.ts';
import { assertScope } from './authenticate.ts';
import type { AppConfig, AppEnv, RouteTerms } from './context.ts';
import type { Scope } from './identity/identity.ts';

type HttpMethod = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** A method and a path, as the router has them: `GET /accounts/:id`. */
export type RouteName = `${HttpMethod} /${string}`;

/** The path of a route's name, from which the types of its parameters are derived. */
export type PathOf<Name> = Name extends `${string} ${infer Path}` ? Path : never;

/** The requirements of a route, and the parts of a request that it reads. */
interface RouteOptions<Body, Query> extends RouteTerms {
  /** Schemas by which the handler validates a request, and from which the reference is generated. */
  body?: Body;
  /** As a function where plugins have their share in it. */
  query?: Query | (() => Query);
  /** Whether its query also selects a page of a list, which `parsePageQuery` reads. */
  pages?: true;
}

/** The texts about a route in `/openapi.json`. */
export interface RouteTexts {
  /** The name of the route in generated clients, such as `createNote`. */
  operation: string;
  /** What the route does, as an imperative: `Create a note`. */
  summary: string;
  description?: string;
  /** The schema of the JSON in a response with status 200. Responses are not validated. */
  response?: z.core.$ZodType;
}

/** One route: all that the core, its plugins and the reference know of it. */
export interface Route<Name extends RouteName, Body, Query> extends RouteOptions<Body, Query> {
  readonly name: Name;
  /** Absent for Sluice's own routes: their texts are in `*.reference.ts`, because the Worker does not need them. */
  readonly texts?: RouteTexts;
  // Declare a method instead of a function property: the parameters of methods are bivariant, so routes with different paths
  // fit in one list. https://www.typescriptlang.org/tsconfig/strictFunctionTypes.html
  handle(c: Context<AppEnv, PathOf<Name>>, request: { body: Body; query: Query }): Response | Promise<Response>;
}

export type AnyRoute = Route<RouteName, z.ZodMiniType | undefined, z.ZodMiniObject | undefined>;

declare module '../kit/plugins/plugins.ts' {
  interface Plugin {
    /** The routes of the plugin, made by `route()`. */
    readonly routes?: readonly AnyRoute[];
  }
}
/** Takes the options that a Worker sets for a plugin in its own code, once for each app. */
declare module '../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Reads the options that the plugin adds to `createApp`. Called once for each app. @throws Error for a malformed option */
    readonly options?: (app: AppConfig) => void;
  }
}

/**
 * Defines a route.
 *
 * @param answer also gets the schemas of the request: it reads the body once it is known how much the caller may send
 */
export function defineRoute<
  const Name extends RouteName,
  Body extends z.ZodMiniType | undefined = undefined,
  Query extends z.ZodMiniObject | undefined = undefined,
>(name: Name, terms: RouteOptions<Body, Query>, answer: Route<Name, Body, Query>['handle']): Route<Name, Body, Query> {
  return { ...terms, name, handle: answer };
}

/**
 * Adds routes to an app. The first middleware of each puts its terms into the context, where authentication reads them.
 *
 * @param getMiddleware returns what comes between the terms and the handler
 */
export function mountRoutes(
  app: HonoBase<AppEnv>,
  routes: readonly AnyRoute[],
  getMiddleware: (terms: RouteTerms) => readonly MiddlewareHandler<AppEnv>[],
): void {
  for (const route of routes) {
    const [method = '', path = ''] = route.name.split(' ');
    const request = {
      body: route.body,
      get query() {
        return getOwnQuerySchema(route.query);
      },
    };
    let querySchema: z.ZodMiniObject | undefined;
    const setTerms: MiddlewareHandler<AppEnv> = (c, next) => {
      c.set('route', route);
      return next();
    };
    const handleRoute: Handler<AppEnv> = (c) => {
      querySchema ??= getQuerySchema(route);
      if (!isPublicRoute(route)) rejectUnreadAccount(c, querySchema);
      // Validate the whole query here, also for routes that read only a part of it.
      if (querySchema) validateBySchema(querySchema, c.req.query());
      return route.handle(c, request);
    };
    app.on(method, [path], setTerms, ...getMiddleware(route), handleRoute);
  }
}

/**
 * Rejects the parameter `account` on routes that do not read it. Without this check, an admin who names another account would
 * silently get the data of their own account.
 *
 * @throws ApiError 400
 */
function rejectUnreadAccount(c: Context<AppEnv>, query: z.ZodMiniObject | undefined): void {
  if (c.req.query('account') === undefined || (query && 'account' in query.shape)) return;
  throw createInvalidRequestError(
    'account: not supported by this route, which uses the account of the credential. Remove the parameter, or send a token of the other account. Admins read other accounts with the routes below /accounts/:id, such as GET /accounts/:id/conversations.',
  );
}

/** Requires the scope that the route needs. */
export const requireScopeOfRoute = createMiddleware<AppEnv>((c, next) => {
  const scopes = getRequiredScopes(c.get('route')?.needs ?? 'admin');
  if (scopes.length > 0) assertScope(c.get('identity'), ...scopes);
  return next();
});

/** @returns whether a route needs no credential: health, webhooks, which need their signature, and visitors' first tokens */
export function isPublicRoute({ needs }: RouteTerms): boolean {
  return needs === 'nothing' || needs === 'signature';
}

function getOwnQuerySchema(query: AnyRoute['query']): z.ZodMiniObject | undefined {
  return typeof query === 'function' ? query() : query;
}

/** @returns the schema of a route's whole query, including the parameters that select a page; undefined if it reads none */
export function getQuerySchema({ pages, query }: Pick<AnyRoute, 'pages' | 'query'>): z.ZodMiniObject | undefined {
  const own = getOwnQuerySchema(query);
  if (!pages) return own;
  return own ? z.extend(pageSchema, own.shape) : pageSchema;
}

/** @returns the scopes each of which is enough for a route; none if any credential will do, or no credential is needed */
export function getRequiredScopes(needs: AnyRoute['needs']): readonly Scope[] {
  if (needs === 'nothing' || needs === 'credential' || needs === 'signature') return [];
  return typeof needs === 'string' ? [needs] : needs;
}
