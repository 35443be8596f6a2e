/** The errors that middleware and guards can return before a route’s handler runs. */

import type { RouteTerms } from './context.ts';
import { getRequiredScopes, isPublicRoute } from './route.ts';

/** The terms of a route that decide which middleware guards it. */
export type GuardedRoute = Pick<RouteTerms, 'needs' | 'endsSpending' | 'tokenLimit' | 'checksRevocation'>;

/** The parts of a request that a route reads. */
interface RequestParts {
  hasBody: boolean;
  hasQuery: boolean;
  /** Whether its path contains an id or a name. */
  hasPathParameters: boolean;
}

type GuardStatus = 400 | 401 | 403 | 404 | 413 | 415 | 429 | 500 | 503;

interface GuardErrors {
  statuses: readonly GuardStatus[];
  guards(route: GuardedRoute, parts: RequestParts): boolean;
}

/** One entry for each guard, in the order in which a request passes them (`createRouteMiddleware` in `app.ts`). */
const GUARDS: readonly GuardErrors[] = [
  // A malformed setting, for example, is a 500 on each route.
  { statuses: [500], guards: () => true },
  { statuses: [401], guards: ({ needs }) => needs !== 'nothing' },
  // `refuseRevoked`: the account limits requests to routes that call no model, and it can be unreachable.
  {
    statuses: [429],
    guards: (route) =>
      !isPublicRoute(route) && !route.checksRevocation && (!route.endsSpending || route.tokenLimit !== undefined),
  },
  { statuses: [503], guards: (route) => !isPublicRoute(route) },
  // Headers that Sluice does not know, malformed tags, and a parameter `account` that the route does not read.
  { statuses: [400], guards: (route) => !isPublicRoute(route) },
  // A missing scope, or a restricted token.
  { statuses: [403], guards: (route) => !isPublicRoute(route) || getRequiredScopes(route.needs).length > 0 },
  { statuses: [400], guards: (_, { hasQuery }) => hasQuery },
  { statuses: [400, 413, 415], guards: (_, { hasBody }) => hasBody },
  { statuses: [404], guards: (_, { hasPathParameters }) => hasPathParameters },
];

/** @returns the statuses that the guards of a route can return */
export function listGuardErrors(route: GuardedRoute, parts: RequestParts): GuardStatus[] {
  return GUARDS.flatMap(({ statuses, guards }) => (guards(route, parts) ? statuses : []));
}
