import { cors } from 'hono/cors';
import { createMiddleware } from 'hono/factory';
import { isLoopback } from '../kit/http/headers/hosts.ts';
import { CORE_HEADERS } from '../kit/http/headers/response-headers.ts';
import { getPluginMembers, memoizeFromPlugins } from '../kit/plugins/plugins.ts';
import type { AppEnv } from './context.ts';

const PREFLIGHT_SECONDS = 3_600;

/** Response headers that a page may read. CORS has no prefixes, so each name is listed. */
const EXPOSED_HEADERS = [
  'request-id',
  'retry-after',
  'retry-after-ms',
  'x-should-retry',
  'location',
  ...['requests', 'tokens', 'input-tokens', 'output-tokens'].flatMap((counted) =>
    ['limit', 'remaining', 'reset'].map((suffix) => `anthropic-ratelimit-${counted}-${suffix}`),
  ),
  ...[
    'status',
    'reset',
    'representative-claim',
    'overage-status',
    'overage-reset',
    'overage-utilization',
    'overage-surpassed-threshold',
    'overage-period',
    'overage-disabled-reason',
  ].map((what) => `anthropic-ratelimit-unified-${what}`),
  ...CORE_HEADERS,
];

const createCorsHandler = memoizeFromPlugins(() =>
  cors({
    origin: (origin, c) => {
      const { isOpen, ALLOWED_ORIGINS } = c.get('settings') as AppEnv['Variables']['settings'];
      if (isOpen) return isLoopback(origin) ? origin : null;
      if (ALLOWED_ORIGINS.includes('*')) return '*';
      return ALLOWED_ORIGINS.includes(origin) ? origin : null;
    },
    exposeHeaders: [...EXPOSED_HEADERS, ...getPluginMembers('headers').flat()],
    maxAge: PREFLIGHT_SECONDS,
  }),
);

/** Adds CORS headers for the origins of ALLOWED_ORIGINS. A request without an `Origin` is not from a page, and needs none. */
export const addCorsHeaders = createMiddleware<AppEnv>((c, next) =>
  c.req.raw.headers.has('origin') ? createCorsHandler()(c, next) : next(),
);
