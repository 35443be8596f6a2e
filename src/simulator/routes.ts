import { ApiError } from './request/errors.ts';

/** What a request is for. `id` is empty if none is named. */
export type Route =
  | { name: 'messages' | 'count' | 'models' }
  | { name: 'model'; id: string }
  | { name: 'batches'; does: 'create' | 'list' | 'retrieve' | 'cancel' | 'delete' | 'results'; id: string }
  | { name: 'files'; does: 'upload' | 'list' | 'retrieve' | 'delete' | 'content'; id: string };

const ID = '([^/]+)';

const ROUTES: readonly (readonly [string, RegExp, (id: string) => Route])[] = [
  ['POST', compilePath('messages'), () => ({ name: 'messages' })],
  ['POST', compilePath('messages/count_tokens'), () => ({ name: 'count' })],
  ['GET', compilePath('models'), () => ({ name: 'models' })],
  ['GET', compilePath(`models/${ID}`), (id) => ({ name: 'model', id })],
  ['POST', compilePath('messages/batches'), (id) => ({ name: 'batches', does: 'create', id })],
  ['GET', compilePath('messages/batches'), (id) => ({ name: 'batches', does: 'list', id })],
  ['GET', compilePath(`messages/batches/${ID}`), (id) => ({ name: 'batches', does: 'retrieve', id })],
  ['DELETE', compilePath(`messages/batches/${ID}`), (id) => ({ name: 'batches', does: 'delete', id })],
  ['POST', compilePath(`messages/batches/${ID}/cancel`), (id) => ({ name: 'batches', does: 'cancel', id })],
  ['GET', compilePath(`messages/batches/${ID}/results`), (id) => ({ name: 'batches', does: 'results', id })],
  ['POST', compilePath('files'), (id) => ({ name: 'files', does: 'upload', id })],
  ['GET', compilePath('files'), (id) => ({ name: 'files', does: 'list', id })],
  ['GET', compilePath(`files/${ID}`), (id) => ({ name: 'files', does: 'retrieve', id })],
  ['DELETE', compilePath(`files/${ID}`), (id) => ({ name: 'files', does: 'delete', id })],
  ['GET', compilePath(`files/${ID}/content`), (id) => ({ name: 'files', does: 'content', id })],
];

function compilePath(pattern: string): RegExp {
  return new RegExp(`/v1/${pattern}$`);
}

/**
 * Finds the route of a request; anything before `/v1` counts as the path of the base URL.
 * @throws ApiError 404 for a path that the API does not have.
 */
export function findRoute(method: string, pathname: string): Route {
  const bare = pathname.replace(/\/$/, '');
  for (const [allowed, pattern, route] of ROUTES) {
    const match = method === allowed && pattern.exec(bare);
    if (match) return route(decodeSegment(match[1] ?? ''));
  }
  throw new ApiError(404, 'Not found');
}

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
