/** Makes the answer for a path that does not exist. The usual cause is a wrong base URL, so the answer says the right one. */
import { type ApiError, finalError, notFound } from './errors.ts';

/** A longer path is cut before it is shown. */
const LONGEST_SHOWN = 200;
/** Paths of OpenAI's API, and `complete` of Anthropic's old one: here it is `POST /v1/messages`. */
const OF_ANOTHER_API = /^(\/v1)?\/(chat\/completions|completions|complete|responses)\/?$/;
const MESSAGES = { method: 'POST', path: '/v1/messages' };

interface Edge {
  /** The path under which another app has mounted it; empty if there is no other app. */
  base: string;
  routes: readonly { method: string; path: string }[];
  /** @returns the methods of a path of the edge; an empty list if it does not exist */
  methodsOf(path: string): readonly string[];
}

/**
 * Explains that a path does not exist.
 *
 * @param path within the edge
 * @returns a 404 or 501 whose message says what was probably meant, or what exists
 */
export function unknownPath(path: string, edge: Edge): ApiError {
  const shown = (edge.base + path).slice(0, LONGEST_SHOWN);
  if (OF_ANOTHER_API.test(path)) {
    const { method, path: messages } = MESSAGES;
    return finalError(
      'not_supported',
      `This edge speaks Anthropic’s Messages API. Send the request to ${method} ${edge.base}${messages}, in its format.`,
    );
  }
  const meant = meantBy(path, edge);
  if (meant) {
    const [method] = edge.methodsOf(meant.path);
    const advice = meant.extra ? ` Take “${meant.extra}” away from the end of your client’s base URL.` : '';
    return notFound(`There is nothing at ${shown}. It is ${method} ${edge.base}${meant.path}.${advice}`);
  }
  if (!path.startsWith('/v1/')) return notFound(`There is nothing at ${shown}.`);
  return finalError('not_supported', `This edge does not offer ${shown}. Of the Claude API it has ${offered(edge)}.`);
}

/** @returns the path that was meant, and the superfluous part of the client's base URL: `/v1` in `/v1/v1/messages`. */
function meantBy(path: string, { methodsOf }: Edge): { extra?: string; path: string } | undefined {
  const isThere = (one: string) => methodsOf(one).length > 0;
  const at = path.lastIndexOf('/v1/');
  const rest = path.slice(Math.max(0, at));
  if (at > 0 && isThere(rest)) return { extra: path.slice(0, at).slice(0, LONGEST_SHOWN), path: rest };
  const single = path.replace(/^\/{2,}/, '/');
  if (single !== path && isThere(single)) return { extra: '/', path: single };
  const open = path.replace(/\/$/, '');
  return open !== path && isThere(open) ? { path: open } : undefined;
}

/** @returns the routes of the Claude API that the edge has, as part of a sentence. */
function offered({ base, routes }: Edge): string {
  const own = routes.filter(({ method, path }) => method !== 'ALL' && path.startsWith('/v1/'));
  const names = [...new Set(own.map(({ method, path }) => `${method} ${base}${path}`))];
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}
