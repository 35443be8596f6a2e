/**
 * Creates the response for a path that does not exist. The usual cause is a wrong base URL, so the response contains the right
 * one.
 */
import { findNearestName } from '../json/nearest-name.ts';
import { type ApiError, createNonRetryableError, createNotFoundError } from './errors.ts';

/** A longer path is cut before it is shown. */
const MAX_SHOWN_CHARACTERS = 200;
/** Paths of OpenAI's API, and `complete` of Anthropic's old one: here it is `POST /v1/messages`. */
const OTHER_API_PATHS = /^(\/v1)?\/(chat\/completions|completions|complete|responses)\/?$/;
const MESSAGES = { method: 'POST', path: '/v1/messages' };

interface EdgeRoutes {
  /** The path under which another app has mounted it; empty if there is no other app. */
  base: string;
  routes: readonly { method: string; path: string }[];
  /** @returns the methods of a path of the edge; an empty list if it does not exist */
  listMethodsOfPath(path: string): readonly string[];
  /** @returns the plugin that provides a path, if the deployment does not include this plugin */
  findMissingPlugin(path: string): string | undefined;
}

/**
 * Explains that a path does not exist.
 *
 * @param path within the edge
 * @returns a 404 or 501 whose message names the path that was probably meant, or the existing paths
 */
export function createUnknownPathError(path: string, edge: EdgeRoutes): ApiError {
  const shown = (edge.base + path).slice(0, MAX_SHOWN_CHARACTERS);
  if (OTHER_API_PATHS.test(path)) {
    const { method, path: messages } = MESSAGES;
    return createNonRetryableError(
      'not_supported',
      `Sluice supports Anthropic’s Messages API. Send the request to ${method} ${edge.base}${messages}, in this format.`,
    );
  }
  const meant = findIntendedPath(path, edge);
  if (meant) {
    const [method] = edge.listMethodsOfPath(meant.path);
    const advice = meant.extra ? ` Remove “${meant.extra}” from the end of your client’s base URL.` : '';
    return createNonRetryableError(
      'not_found_error',
      `${shown} does not exist. Did you mean ${method} ${edge.base}${meant.path}?${advice}`,
    );
  }
  const plugin = edge.findMissingPlugin(path);
  if (plugin !== undefined) {
    const message = `${shown} requires the plugin \`${plugin}\`, which this deployment does not include. Ask its operator to add it.`;
    return path.startsWith('/v1/') ? createNonRetryableError('not_supported', message) : createNotFoundError(message);
  }
  if (!path.startsWith('/v1/'))
    return createNotFoundError(`${shown} does not exist. Check the path and the method; /docs lists all routes.`);
  return createNonRetryableError(
    'not_supported',
    `Sluice does not support ${shown}. It supports these routes of the Claude API: ${listClaudeRoutesAsText(edge)}.`,
  );
}

/** @returns the path that was meant, and the superfluous part of the client's base URL: `/v1` in `/v1/v1/messages`. */
function findIntendedPath(
  path: string,
  { listMethodsOfPath: methodsOf, routes, findMissingPlugin }: EdgeRoutes,
): { extra?: string; path: string } | undefined {
  const pathExists = (one: string) => methodsOf(one).length > 0;
  const at = path.lastIndexOf('/v1/');
  const rest = path.slice(Math.max(0, at));
  if (at > 0 && pathExists(rest)) return { extra: path.slice(0, at).slice(0, MAX_SHOWN_CHARACTERS), path: rest };
  const single = path.replace(/^\/{2,}/, '/');
  if (single !== path && pathExists(single)) return { extra: '/', path: single };
  const open = path.replace(/\/$/, '');
  if (open !== path && pathExists(open)) return { path: open };
  const similar = findMissingPlugin(path) === undefined ? findSimilarPath(open, routes) : undefined;
  return similar === undefined ? undefined : { path: similar };
}

/** @returns the path of a route that differs only by typing errors: each of its segments is the same or similar */
function findSimilarPath(path: string, routes: EdgeRoutes['routes']): string | undefined {
  const segments = path.split('/');
  for (const { method, path: route } of routes) {
    const parts = route.split('/');
    if (method === 'ALL' || parts.length !== segments.length) continue;
    const similar = parts.map((part, at) => {
      const segment = segments[at];
      if (part === segment || (part.startsWith(':') && segment !== '')) return segment;
      return segment ? findNearestName(segment, [part]) : undefined;
    });
    if (similar.every((part) => part !== undefined)) return similar.join('/');
  }
  return undefined;
}

/** @returns the routes of the Claude API that the edge has, as part of a sentence. */
function listClaudeRoutesAsText({ base, routes }: EdgeRoutes): string {
  const own = routes.filter(({ method, path }) => method !== 'ALL' && path.startsWith('/v1/'));
  const names = [...new Set(own.map(({ method, path }) => `${method} ${base}${path}`))];
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}
