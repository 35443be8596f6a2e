import { Hono } from 'hono';
import { cors } from 'hono/cors';
import { createMiddleware } from 'hono/factory';
import { authenticate } from './auth/authenticate.ts';
import { isLoopback, loopbackOnly } from './auth/loopback.ts';
import type { AppEnv } from './env.ts';
import { ApiError, DO_NOT_RETRY, errorResponse, methodNotAllowed, notFound, toApiError } from './errors.ts';
import { LogEntry, type LogLine } from './log.ts';
import { createRequestId } from './request-id.ts';
import { accountsRoutes } from './routes/accounts.ts';
import { classifiersRoutes } from './routes/classifiers.ts';
import { classifyRoutes } from './routes/classify.ts';
import { conversationsRoutes } from './routes/conversations.ts';
import { countTokensRoutes } from './routes/count-tokens.ts';
import { healthRoutes } from './routes/health.ts';
import { type MessagesOptions, messagesRoutes } from './routes/messages.ts';
import { modelsRoutes } from './routes/models.ts';
import { prefixesRoutes } from './routes/prefixes.ts';
import { tokensRoutes } from './routes/tokens.ts';
import { usageRoutes } from './routes/usage.ts';
import { settingsOf } from './settings.ts';

export type AppOptions = MessagesOptions;

/** Response headers that a page may read: prefixes do not exist in CORS, so each has its name. */
const EXPOSED_HEADERS = [
  'request-id',
  'retry-after',
  'retry-after-ms',
  'x-should-retry',
  'location',
  'anthropic-ratelimit-requests-limit',
  'anthropic-ratelimit-requests-remaining',
  'anthropic-ratelimit-requests-reset',
  'anthropic-ratelimit-tokens-limit',
  'anthropic-ratelimit-tokens-remaining',
  'anthropic-ratelimit-tokens-reset',
  'anthropic-ratelimit-input-tokens-limit',
  'anthropic-ratelimit-input-tokens-remaining',
  'anthropic-ratelimit-input-tokens-reset',
  'anthropic-ratelimit-output-tokens-limit',
  'anthropic-ratelimit-output-tokens-remaining',
  'anthropic-ratelimit-output-tokens-reset',
  'anthropic-ratelimit-unified-status',
  'anthropic-ratelimit-unified-reset',
  'anthropic-ratelimit-unified-representative-claim',
  'anthropic-ratelimit-unified-overage-status',
  'anthropic-ratelimit-unified-overage-reset',
  'anthropic-ratelimit-unified-overage-utilization',
  'anthropic-ratelimit-unified-overage-surpassed-threshold',
  'anthropic-ratelimit-unified-overage-period',
  'anthropic-ratelimit-unified-overage-disabled-reason',
  'sluice-request-id',
  'sluice-upstream',
  'sluice-limited-by',
  'sluice-model-retires',
  'sluice-max-tokens',
  'sluice-cost-usd',
  'sluice-turn',
];

/** Everything that needs a credential. (`/models/*` is `/models` as well.) */
const PRIVATE = [
  '/messages',
  '/count-tokens',
  '/models/*',
  '/v1/*',
  '/accounts/*',
  '/conversations/*',
  '/prefixes/*',
  '/classifiers/*',
  '/classify',
  '/tokens',
  '/usage/*',
];

const PREFLIGHT_SECONDS = 3_600;

/**
 * Makes the edge: middleware in the order a request passes it, then the routes.
 *
 * @returns a Hono app; mount it, or export it as a Worker
 */
export function createApp(options: AppOptions = {}) {
  const app = new Hono<AppEnv>();
  app.onError((thrown, c) => {
    const error = toApiError(thrown);
    c.get('entry').line.error_type ??= error.logged;
    return errorResponse(error, c.get('requestId'));
  });
  app.use(identify, loopbackOnly, allowOrigins);
  app.route('/', healthRoutes(options.fetch));
  for (const path of PRIVATE) app.use(path, authenticate);
  app.route('/', messagesRoutes(options));
  app.route('/', countTokensRoutes(options.fetch));
  app.route('/', conversationsRoutes());
  app.route('/', prefixesRoutes(options.fetch));
  app.route('/', classifyRoutes(options.fetch));
  app.route('/', classifiersRoutes(options.fetch));
  app.route('/', modelsRoutes(options.fetch));
  app.route('/', accountsRoutes());
  app.route('/', tokensRoutes());
  app.route('/', usageRoutes());
  app.notFound((c) => {
    const allowed = allowedMethods(app, c.req.path);
    if (allowed.length > 0) throw methodNotAllowed(c.req.method, allowed);
    if (c.req.path.startsWith('/v1/')) {
      throw new ApiError('not_supported', `This edge does not offer ${c.req.path}.`, { headers: DO_NOT_RETRY });
    }
    throw notFound(`There is nothing at ${c.req.path}.`);
  });
  return app;
}

/** Names the request, parses the settings, and writes the log line when all is over. */
const identify = createMiddleware<AppEnv>(async (c, next) => {
  const requestId = createRequestId();
  c.set('requestId', requestId);
  const entry = new LogEntry(requestId, c.req.method, c.req.path);
  c.set('entry', entry);
  c.executionCtx.waitUntil(entry.closed);
  try {
    c.set('settings', settingsOf(c.env));
    await next();
  } catch (thrown) {
    const error = toApiError(thrown);
    entry.line.error_type ??= error.logged;
    c.res = errorResponse(error, requestId);
  }
  const { status, headers } = c.res;
  headers.set('sluice-request-id', requestId);
  if (!headers.has('request-id')) headers.set('request-id', requestId);
  entry.line.status = status;
  if (status >= 400) entry.line.limited_by = headers.get('sluice-limited-by') as LogLine['limited_by'];
  entry.end();
});

const answerCors = cors({
  origin: (origin, c) => {
    const { development, ALLOWED_ORIGINS } = c.get('settings') as AppEnv['Variables']['settings'];
    if (development) return isLoopback(origin) ? origin : null;
    if (ALLOWED_ORIGINS.includes('*')) return '*';
    return ALLOWED_ORIGINS.includes(origin) ? origin : null;
  },
  exposeHeaders: EXPOSED_HEADERS,
  maxAge: PREFLIGHT_SECONDS,
});

/** A request without an `Origin` is no page's: it is spared the headers. */
const allowOrigins = createMiddleware<AppEnv>(async (c, next) => {
  if (c.req.header('origin') === undefined) await next();
  else return answerCors(c, next);
});

function allowedMethods(app: Hono<AppEnv>, path: string): string[] {
  const methods = [...new Set(app.routes.map(({ method }) => method))].filter((method) => method !== 'ALL');
  return methods.filter((method) => {
    const [matched] = app.router.match(method, path);
    return matched.some(([[, route]]) => route.method !== 'ALL');
  });
}
