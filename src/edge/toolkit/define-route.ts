import type { Context } from 'hono';
import type { AppEnv } from '../auth/context.ts';
import type { Scope } from '../auth/identity/identity.ts';
import type { AnyRoute, PathOf, RouteName, RouteTexts } from '../auth/route.ts';
import { validateBySchema } from '../kit/http/validate.ts';
import type * as z from '../kit/http/zod.ts';
import { readJsonBody } from '../money/admission/read-body.ts';

/** The requirements of a route, the schemas of its requests, and its texts in `/openapi.json`. */
export interface RouteDefinition<Body, Query> extends RouteTexts {
  /**
   * The scope that a credential needs, or several, each of which is enough. `credential`: any scope will do; `nothing`: the
   * route is public, and `c.get('identity')` is absent. Restricted tokens can only use routes that are public.
   */
  needs: Scope | readonly Scope[] | 'credential' | 'nothing';
  /** The schema of the body, which must be a JSON object. If absent, the body is not read. */
  body?: Body;
  /** The schema of the query's parameters. Their values are strings, so convert numbers: `z.coerce.number()`. */
  query?: Query;
}

/** The value of a request's part; undefined if the route has no schema for it. */
type ValueOf<Schema> = Schema extends z.core.$ZodType ? z.output<Schema> : undefined;

/**
 * Defines a route of your own plugin. Sluice authenticates its requests and validates them by the schemas before it calls
 * `handle`. The route and its schemas are listed in `/openapi.json`.
 *
 * @param name the method and the path, such as `GET /notes/:id`
 * @param definition its schemas can be made by `zod`. Those of `zod/mini` work too, but are `{}` in `/openapi.json`
 * @param handle its exceptions become responses: an `ApiError` has its own status, any other error is a 500 without details
 * @example
 * import * as z from 'zod';
 *
 * const echo = defineRoute(
 *   'POST /echo',
 *   { needs: 'messages', operation: 'echo', summary: 'Return a text', body: z.object({ text: z.string() }) },
 *   (c, { body }) => c.json({ account: c.get('identity').account, text: body.text }),
 * );
 * const plugin = { name: 'echo', routes: [echo] };
 * show(plugin);
 */
export function defineRoute<
  const Name extends RouteName,
  Body extends z.core.$ZodType | undefined = undefined,
  Query extends z.core.$ZodObject | undefined = undefined,
>(
  name: Name,
  { needs, body, query, ...texts }: RouteDefinition<Body, Query>,
  handle: (
    c: Context<AppEnv, PathOf<Name>>,
    request: { body: ValueOf<Body>; query: ValueOf<Query> },
  ) => Response | Promise<Response>,
): AnyRoute {
  // The schemas of `zod` have the methods of those of `zod/mini`, although their types differ.
  const schemas = { body, query } as Pick<AnyRoute, 'body'> & { query?: z.ZodMiniObject };
  return {
    name,
    needs,
    ...schemas,
    texts,
    handle: async (c) => {
      // Validate the query first: the body may be long.
      const queryValue = schemas.query && validateBySchema(schemas.query, c.req.query());
      const bodyValue = schemas.body && validateBySchema(schemas.body, (await readJsonBody(c)).json);
      const request = { body: bodyValue as ValueOf<Body>, query: queryValue as ValueOf<Query> };
      return await handle(c as Context<AppEnv, PathOf<Name>>, request);
    },
  };
}
