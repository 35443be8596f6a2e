import type { Context, Handler, MiddlewareHandler } from 'hono';
import type { Hono } from '../kit/http/hono.ts';
import type * as z from '../kit/http/zod.ts';
import { assertScope } from './authenticate.ts';
import type { AppConfig, AppEnv } from './context.ts';
import type { Scope } from './identity/identity.ts';
import { markRouteReadableByAnyPage } from './loopback.ts';
import { openToRestrictedTokens } from './restricted-routes.ts';

type HttpMethod = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** A method and a path, as the router has them: `GET /accounts/:id`. */
export type RouteName = `${HttpMethod} /${string}`;

type PathOf<Name> = Name extends `${string} ${infer Path}` ? Path : never;

/** What must hold before a route's handler is called, and what it reads. */
interface RouteOptions<Body, Query> {
  /**
   * The scope that it needs, or several, each of which is enough. `credential`: any scope will do; `signature`: the body must
   * be signed; `nothing`: it is public.
   */
  needs: Scope | readonly Scope[] | 'credential' | 'signature' | 'nothing';
  /** By these the handler checks what is sent, and from these the reference describes it. */
  body?: Body;
  /** As a function where plugins have their share in it. */
  query?: Query | (() => Query);
  /** Whether its query also says which page of a list is asked for: `parsePageQuery` reads that. */
  pages?: true;
  /** Whether restricted tokens may use it. Then the handler must see what they may ask there. */
  restrictedClassifier?: true;
  /** Whether its answer is no secret: in development any page may read it. */
  common?: true;
  /** Whether its admission asks the account if the credential is revoked. Of all others it is asked before them. */
  admits?: true;
  /** Whether it spends money at once, so that it may be refused before its body is read. */
  spends?: true;
}

/** One route: all that the core, its plugins and the reference know of it. */
export interface Route<Name extends RouteName, Body, Query> extends RouteOptions<Body, Query> {
  readonly name: Name;
  // A method, so that routes of different paths stand in one list.
  handle(c: Context<AppEnv, PathOf<Name>>, request: { body: Body; query: Query }): Response | Promise<Response>;
}

export type AnyRoute = Route<RouteName, z.ZodMiniType | undefined, z.ZodMiniObject | undefined>;

declare module '../kit/plugins/plugins.ts' {
  interface Plugin {
    /** The routes of the plugin, made by `route()`. */
    readonly routes?: readonly AnyRoute[];
  }
}
/** Takes what a Worker decides for a plugin in its own code, once for each app. */
declare module '../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Reads the options that the plugin adds to `createApp`. Called once for each app. @throws Error for a malformed option */
    readonly options?: (app: AppConfig) => void;
  }
}

/**
 * Makes a route.
 *
 * @param answer gets the schemas of the request, too: it reads the body when it is known who may send how much
 */
export function defineRoute<
  const Name extends RouteName,
  Body extends z.ZodMiniType | undefined = undefined,
  Query extends z.ZodMiniObject | undefined = undefined,
>(name: Name, terms: RouteOptions<Body, Query>, answer: Route<Name, Body, Query>['handle']): Route<Name, Body, Query> {
  return { ...terms, name, handle: answer };
}

/** Middleware of routes. */
interface RouteMiddleware {
  /** Before each of them. */
  first?: readonly MiddlewareHandler<AppEnv>[];
  /** Before the body of a request that spends money is read. */
  beforeSpending?: MiddlewareHandler<AppEnv> | undefined;
}

/** Adds routes to an app. The first function of each also asks for the scope. */
export function mountRoutes(
  app: Hono<AppEnv>,
  routes: readonly AnyRoute[],
  { first = [], beforeSpending }: RouteMiddleware = {},
): void {
  for (const { name, needs, restrictedClassifier, common, spends, body, query, handle: answer } of routes) {
    const [method = '', path = ''] = name.split(' ');
    const request = {
      body,
      get query() {
        return getQuerySchema(query);
      },
    };
    const handleRoute: Handler<AppEnv> = (c) => answer(c, request);
    const [head = handleRoute, ...others] = [...(spends && beforeSpending ? [beforeSpending] : []), handleRoute];
    const scopes = getRequiredScopes(needs);
    // New for every app, so that it knows its own from those of another one.
    const checkScopeThenNext: Handler<AppEnv> = (c, next) => {
      if (scopes.length > 0) assertScope(c.get('identity'), ...scopes);
      return head(c, next);
    };
    if (restrictedClassifier) openToRestrictedTokens(checkScopeThenNext);
    if (common) markRouteReadableByAnyPage(checkScopeThenNext);
    app.on(method, [path], ...first, checkScopeThenNext, ...others);
  }
}

export function getQuerySchema(query: AnyRoute['query']): z.ZodMiniObject | undefined {
  return typeof query === 'function' ? query() : query;
}

/** @returns the scopes each of which is enough for a route; none if any credential will do, or no credential is needed */
export function getRequiredScopes(needs: AnyRoute['needs']): readonly Scope[] {
  if (needs === 'nothing' || needs === 'credential' || needs === 'signature') return [];
  return typeof needs === 'string' ? [needs] : needs;
}
