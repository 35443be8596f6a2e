import type { Context, MiddlewareHandler } from 'hono';
import { createMiddleware } from 'hono/factory';
import { HonoBase } from 'hono/hono-base';
import { basePath, baseRoutePath, matchedRoutes } from 'hono/route';
import { TrieRouter } from 'hono/router/trie-router';
import { authenticateRequest } from './auth/authenticate.ts';
import type { AppConfig, AppEnv, RouteTerms } from './auth/context.ts';
import { restrictToLoopback } from './auth/loopback.ts';
import { addCorsHeaders } from './auth/origins.ts';
import { closePath, createPathProtection, openPath } from './auth/protected-paths.ts';
import { type AnyRoute, isPublicRoute, mountRoutes, requireScopeOfRoute } from './auth/route.ts';
import { CLASSIFIER_ROUTES } from './classify/classifiers.route.ts';
import { CLASSIFY_ROUTES } from './classify/classify.route.ts';
import { explainErrorInDevelopment } from './claude/explain-rejected-key.ts';
import { rejectTooManyHeaders } from './claude/headers.ts';
import type { Prices } from './claude/models/price-settings.ts';
import { createConfiguredUpstreams } from './claude/providers/entry.ts';
import { rejectUnknownHeaders } from './claude/request/all-fields.ts';
import { shareFetchWithObjects } from './claude/upstream.ts';
import { findPluginOfPath } from './config/plugin-paths.ts';
import { addWorkerPrices, parseSettingsOnce } from './config/settings.ts';
import { CONVERSATION_ROUTES } from './conversations/object/conversations.route.ts';
import { HEALTH_ROUTES } from './health/health.route.ts';
import { OPENAPI_ROUTES } from './health/openapi.route.ts';
import { addQueueHandler, type QueueHandler } from './kit/delivery/queue.ts';
import { BodyMemoryShare, bodyMemory } from './kit/http/body-memory.ts';
import { createHtmlErrorPage, isBrowserPageRequest } from './kit/http/error-page.ts';
import {
  type ApiError,
  createApiErrorResponse,
  createMethodNotAllowedError,
  DISK_FULL,
  toApiError,
} from './kit/http/errors.ts';
import { createCommonHeaders, createRequestId, REQUEST_ID_HEADER } from './kit/http/headers/request-id.ts';
import { RequestLogEntry, type RequestLogLine } from './kit/http/log.ts';
import { createUnknownPathError } from './kit/http/unknown-path.ts';
import {
  getPluginMembers,
  getPluginMembersWithNames,
  getSinglePluginMember,
  hasPlugin,
  registerPlugins,
} from './kit/plugins/plugins.ts';
import { COUNT_ROUTES } from './messages/count-tokens.route.ts';
import { MESSAGE_ROUTES } from './messages/messages.route.ts';
import { MODEL_ROUTES } from './messages/models.route.ts';
import { ACCOUNT_ROUTES } from './money/account/accounts.route.ts';
import { sendDiskFullAlert } from './money/account/alert-disk-full.ts';
import { USAGE_ROUTES } from './money/account/usage.route.ts';
import {
  refuseRevoked,
  refuseRevokedAfterwards,
  requireUnrevokedCredential,
} from './money/admission/refuse-revoked.ts';
import { TOKEN_ROUTES } from './money/credentials/tokens.route.ts';
import type { Plugin } from './plugins/plugin.ts';
import type { PluginOptions } from './plugins.ts';
import { PREFIX_ROUTES } from './registry/prefixes/prefixes.route.ts';

/** The routes of the core. */
const CORE_ROUTES: readonly AnyRoute[] = [
  ...MESSAGE_ROUTES,
  ...COUNT_ROUTES,
  ...HEALTH_ROUTES,
  ...OPENAPI_ROUTES,
  ...CONVERSATION_ROUTES,
  ...PREFIX_ROUTES,
  ...CLASSIFY_ROUTES,
  ...CLASSIFIER_ROUTES,
  ...MODEL_ROUTES,
  ...ACCOUNT_ROUTES,
  ...TOKEN_ROUTES,
  ...USAGE_ROUTES,
];

/**
 * The options that a Worker sets in its own code. `plugins`, `fetch`, `prices` and `tools` also apply to its Durable Objects,
 * which belong to the Worker and not to an app: call `createApp` at the top of the module, and give every app the same values.
 */
export interface AppOptions<Inputs extends object = Record<string, unknown>> extends AppConfig, PluginOptions<Inputs> {
  /** The features in addition to the core; `allPlugins` are all of them. Default: those of the Worker's first app, or none. */
  plugins?: readonly Plugin[];
  /** Rows that override or extend the model table; the setting PRICES wins over them, row by row. */
  prices?: Prices;
  /**
   * Paths of routes that the Worker adds to this app and that need no credential. All other added routes need one, and
   * have `c.get('identity')`. The edge's own routes cannot be opened.
   */
  publicPaths?: readonly string[];
  /** Further paths that need a credential: those of an app in which this app is mounted. */
  privatePaths?: readonly string[];
}

/**
 * Makes the edge: middleware in the order in which a request passes it, then the routes.
 *
 * @returns a Hono app with a `queue` handler: export it as a Worker, add routes to it, or mount it in another app,
 *   `app.route('/ai', edge)`, and export `queue: edge.queue` beside that app's `fetch`
 * @throws Error for malformed prices and tools, and for other plugins than those of the Worker's first app
 */
export function createApp<Inputs extends object = Record<string, unknown>>(
  options: AppOptions<Inputs> = {},
): HonoBase<AppEnv> & QueueHandler {
  if (options.plugins) registerPlugins(options.plugins);
  if (options.fetch) shareFetchWithObjects(options.fetch);
  if (options.prices) addWorkerPrices(options.prices);
  for (const readOptions of getPluginMembers('options')) readOptions(options);
  // The usual routers compile all routes to regular expressions, which costs more in the first request of an isolate.
  const app = new HonoBase<AppEnv>({ router: new TrieRouter() });
  app.onError((thrown, c) => {
    const error = toApiError(thrown);
    c.get('entry').line.error_type ??= describeErrorForLog(error, c.get('route'));
    c.get('entry').line.upstream_said ??= error.upstreamSaid;
    const { development, UPSTREAMS } = c.get('settings');
    const explained = development && UPSTREAMS.length === 0 ? explainErrorInDevelopment(error) : undefined;
    return createApiErrorResponse(error, c.get('requestId'), explained);
  });
  app.use(createRequestStartMiddleware(options), restrictToLoopback, addCorsHeaders);
  const routes = [...CORE_ROUTES, ...getPluginMembers('routes').flat()];
  mountRoutes(app, routes, createRouteMiddleware(options));
  for (const path of options.publicPaths ?? []) app.use(path, openPath);
  const privateRoutes = routes.filter((route) => !isPublicRoute(route));
  for (const path of [...collectSubtrees(privateRoutes), ...(options.privatePaths ?? [])]) app.use(path, closePath);
  app.use(createOtherPathMiddleware(app));
  return addQueueHandler(app, options);
}

/** @returns the error's type for the log. For an unexpected exception, it also says if a plugin’s route or code outside Sluice’s routes threw it. */
function describeErrorForLog({ logged }: ApiError, route: RouteTerms | undefined): string {
  if (!logged.startsWith('internal')) return logged;
  if (route === undefined) return `${logged} (outside Sluice’s routes)`;
  const [plugin] = getPluginMembersWithNames('routes').find(([, routes]) => routes.some((one) => one === route)) ?? [];
  return plugin === undefined ? logged : `${logged} (in the plugin ${plugin})`;
}

/** @returns a function that lists the middleware of a route, in the order in which a request passes it */
function createRouteMiddleware({ authenticate: own }: AppConfig) {
  const beforeSpending = getSinglePluginMember('allAccounts')?.beforeSpending;
  return (route: RouteTerms): MiddlewareHandler<AppEnv>[] =>
    isPublicRoute(route)
      ? []
      : [
          authenticate,
          route.checksRevocation ? refuseRevokedAfterwards : refuseRevoked,
          headerCountGuard,
          // Skip this check if the Worker has its own login, which may read headers that Sluice does not know.
          ...(own ? [] : [unreadHeadersGuard]),
          requireScopeOfRoute,
          // Before its body is read, a visitor's request is rejected while the pool that pays for it is spent.
          ...(route.spends && beforeSpending ? [beforeSpending] : []),
        ];
}

const authenticate = createMiddleware<AppEnv>(async (c, next) => {
  await authenticateRequest(c);
  await next();
});

/**
 * Makes the middleware for paths that none of the edge's routes has answered: it requires a credential where one is needed,
 * also for routes that a Worker adds to the app, and responds to unknown paths.
 */
function createOtherPathMiddleware(app: HonoBase<AppEnv>) {
  const needsCredential = createPathProtection(app);
  const rejectUnknownPath = rejectUnknownPaths(app);
  return createMiddleware<AppEnv>(async (c, next) => {
    if (needsCredential(c)) {
      await authenticateRequest(c);
      await requireUnrevokedCredential(c);
    }
    return await rejectUnknownPath(c, next);
  });
}

/**
 * @returns paths of routes, with everything below them, so that a caller without a credential cannot find out which routes
 *   exist. Paths below a single-part path such as `/messages` may belong to another app
 */
function collectSubtrees(routes: readonly AnyRoute[]): string[] {
  const paths = routes.map(({ name }) => name.slice(name.indexOf('/')));
  const toSubtree = (path: string) => `${/^\/[^/]+(?:\/:\w+\/\w+)?/.exec(path)?.[0]}/*`;
  const folders = new Set(paths.map((path) => (path.lastIndexOf('/') === 0 ? path : toSubtree(path))));
  const toTopLevelSubtree = (path: string) => `/${path.split('/')[1]}/*`;
  return [...folders].filter((path) => path === toTopLevelSubtree(path) || !folders.has(toTopLevelSubtree(path)));
}

/** @returns middleware that answers unknown paths. (The app's `notFound` would be lost when it is mounted in another app.) */
function rejectUnknownPaths(app: HonoBase<AppEnv>) {
  return createMiddleware<AppEnv>(async (c, next) => {
    // Continue if a route that the Worker has added within the edge's path matches as well. A route for every path (`*`) does
    // not count, so that it does not hide the 404.
    const mount = trimTrailingSlash(baseRoutePath(c));
    const behind = matchedRoutes(c).slice(c.req.routeIndex + 1);
    if (behind.some((route) => route.path === mount || route.path.startsWith(`${mount}/`))) return await next();
    const { path } = c.req;
    const within = path.slice(trimTrailingSlash(basePath(c)).length) || '/';
    const allowed = findAllowedMethods(app, within);
    if (allowed.length > 0) throw createMethodNotAllowedError(c.req.method, allowed);
    const base = path.slice(0, path.length - within.length);
    const error = createUnknownPathError(within, {
      base,
      routes: app.routes,
      listMethodsOfPath: (one) => findAllowedMethods(app, one),
      findMissingPlugin: (one) => {
        const plugin = findPluginOfPath(one);
        return plugin === undefined || hasPlugin(plugin) ? undefined : plugin;
      },
    });
    if (!isBrowserPageRequest(c.req.raw)) throw error;
    c.get('entry').line.error_type ??= error.logged;
    return createHtmlErrorPage(error, within === '/' ? undefined : `${base}/`);
  });
}

const headerCountGuard = createMiddleware<AppEnv>((c, next) => {
  rejectTooManyHeaders(c.req.raw.headers);
  return next();
});

const unreadHeadersGuard = createMiddleware<AppEnv>((c, next) => {
  rejectUnknownHeaders(c.req.raw.headers);
  return next();
});

/** Creates the middleware that gives a request an id, parses the settings, and writes the log line when the response has ended. */
const createRequestStartMiddleware = (app: AppConfig) =>
  createMiddleware<AppEnv>(async (c, next) => {
    c.set('app', app);
    const newId = createRequestId();
    c.set('requestId', newId);
    const version = c.env.CF_VERSION_METADATA?.id;
    const entry = new RequestLogEntry(newId, { version, method: c.req.method, route: findRouteForLog(c) });
    c.set('entry', entry);
    c.executionCtx.waitUntil(entry.whenClosed);
    const memory = new BodyMemoryShare(bodyMemory);
    c.set('bodyMemory', memory);
    try {
      c.set('settings', parseSettingsOnce(c.env));
      // Only check UPSTREAMS here: a malformed entry is a 500 for each request. The result is stored with the settings.
      createConfiguredUpstreams(c.get('settings'));
      await next();
    } catch (thrown) {
      const error = toApiError(thrown);
      entry.line.error_type ??= error.logged;
      entry.line.upstream_said ??= error.upstreamSaid;
      c.res = createApiErrorResponse(error, c.get('requestId'));
    } finally {
      memory.releaseMemory();
    }
    // Read the id again: authentication replaces it with an id that contains the mark of the caller's account.
    const requestId = c.get('requestId');
    const { status, headers } = c.res;
    // Add the common headers, unless the response has this request's id: then it was created with these headers.
    if (headers.get(REQUEST_ID_HEADER) !== requestId) {
      const { 'cache-control': cacheControl, ...common } = createCommonHeaders(requestId);
      for (const [name, value] of Object.entries(common)) headers.set(name, value);
      if (cacheControl !== undefined && !headers.has('cache-control')) headers.set('cache-control', cacheControl);
    }
    if (entry.line.error_type?.startsWith(DISK_FULL)) entry.keepAliveFor(sendDiskFullAlert(c.env));
    if (!headers.has('request-id')) headers.set('request-id', requestId);
    entry.line.status = status;
    if (status >= 400) entry.line.limited_by = headers.get('sluice-limited-by') as RequestLogLine['limited_by'];
    else entry.line.lowered_by = headers.get('sluice-lowered-by') ?? undefined;
    entry.endAndWriteLine();
  });

/** Replaces a path that no route has: callers put addresses and keys into such paths. */
const UNKNOWN_ROUTE = '(unknown)';

/** @returns the route of a request, as it is registered in the app: ids and unknown paths are not written to the log */
function findRouteForLog(c: Context<AppEnv>): string {
  // Skip middleware and routes for every path, which match, too.
  return matchedRoutes(c).find(({ path }) => !path.endsWith('*'))?.path ?? UNKNOWN_ROUTE;
}

function trimTrailingSlash(path: string): string {
  return path.replace(/\/$/, '');
}

function findAllowedMethods(app: HonoBase<AppEnv>, path: string): string[] {
  const methods = [...new Set(app.routes.map(({ method }) => method))].filter((method) => method !== 'ALL');
  return methods.filter((method) => {
    const [matched] = app.router.match(method, path);
    return matched.some(([[, route]]) => route.method !== 'ALL');
  });
}
