import type { Context } from 'hono';
import { hasScope } from '../../gate/auth/authenticate.ts';
import type { AppEnv } from '../../gate/auth/context.ts';
import type { Json } from '../../kit/json/object.ts';

/**
 * An address and its headers may be secrets of those who have stored them. Those of the deployment are its admins', even where
 * accounts may store tools of their own.
 *
 * @returns whether the caller may see how what this owner has stored is called
 */
export function seesAddresses(c: Context<AppEnv>, owner: string): boolean {
  const identity = c.get('identity');
  return hasScope(identity, 'admin') || (owner === identity.account && hasScope(identity, 'tools'));
}

/** @returns stored tools, without their `run` where the caller may not see it */
export function shownTools(c: Context<AppEnv>, owner: string, tools: Json[]): Json[] {
  return seesAddresses(c, owner) ? tools : tools.map(({ run: _, ...tool }) => tool);
}
