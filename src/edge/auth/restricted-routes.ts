/**
 * Decides where a restricted token may be used: on routes that allow it in their definition, and from the origins that it
 * names.
 */

import type { Context } from 'hono';
import type { Settings } from '../config/settings.ts';
import { getPluginMembers, memoizeFromPlugins } from '../kit/plugins/plugins.ts';
import type { AppEnv } from './context.ts';
import type { TokenRestrictions } from './identity/only.ts';

/** @returns whether restricted tokens are accepted at all: only if a plugin checks their restrictions */
export const canUseRestrictedTokens = memoizeFromPlugins(() => getPluginMembers('guard').length > 0);

/** @returns whether the route of this request accepts restricted tokens. The route itself must check their restrictions. */
export function isOpenToRestrictedTokens(c: Context<AppEnv>): boolean {
  return c.get('route')?.openToRestrictedTokens === true;
}

/**
 * @returns whether a request comes from a page of an origin that a restricted token names. A browser leaves `origin` out where the
 *   page is the edge's own
 */
export function isFromOriginAllowedByToken({ origins }: TokenRestrictions, request: Request): boolean {
  if (origins === undefined) return true;
  const origin = request.headers.get('origin');
  if (origin !== null) return origins.includes(origin);
  return request.headers.get('sec-fetch-site') === 'same-origin' && origins.includes(new URL(request.url).origin);
}

/** @returns the first origin of a restricted token that no page of this deployment has; undefined if there is none */
export function findTokenOriginUnknownToDeployment(
  { origins = [] }: TokenRestrictions,
  { ALLOWED_ORIGINS, isOpen }: Pick<Settings, 'ALLOWED_ORIGINS' | 'isOpen'>,
  ownOrigin: string,
): string | undefined {
  if (isOpen || ALLOWED_ORIGINS.includes('*')) return undefined;
  return origins.find((origin) => origin !== ownOrigin && !ALLOWED_ORIGINS.includes(origin));
}
