import { ApiError } from './request/errors.ts';

/** What a request is for. `id` is empty if none is named. */
export type Route =
  | { name: 'messages' | 'count' | 'models' }
  | { name: 'model'; id: string }
  | { name: 'batches'; does: 'create' | 'list' | 'retrieve' | 'cancel' | 'delete' | 'results'; id: string }
  | { name: 'files'; does: 'upload' | 'list' | 'retrieve' | 'delete' | 'content'; id: string };

const ID = '([^/]+)';

const ROUTES: readonly (readonly [string, RegExp, (id: string) => Route])[] = [
  ['POST', path('messages'), () => ({ name: 'messages' })],
  ['POST', path('messages/count_tokens'), () => ({ name: 'count' })],
  ['GET', path('models'), () => ({ name: 'models' })],
  ['GET', path(`models/${ID}`), (id) => ({ name: 'model', id })],
  ['POST', path('messages/batches'), (id) => ({ name: 'batches', does: 'create', id })],
  ['GET', path('messages/batches'), (id) => ({ name: 'batches', does: 'list', id })],
  ['GET', path(`messages/batches/${ID}`), (id) => ({ name: 'batches', does: 'retrieve', id })],
  ['DELETE', path(`messages/batches/${ID}`), (id) => ({ name: 'batches', does: 'delete', id })],
  ['POST', path(`messages/batches/${ID}/cancel`), (id) => ({ name: 'batches', does: 'cancel', id })],
  ['GET', path(`messages/batches/${ID}/results`), (id) => ({ name: 'batches', does: 'results', id })],
  ['POST', path('files'), (id) => ({ name: 'files', does: 'upload', id })],
  ['GET', path('files'), (id) => ({ name: 'files', does: 'list', id })],
  ['GET', path(`files/${ID}`), (id) => ({ name: 'files', does: 'retrieve', id })],
  ['DELETE', path(`files/${ID}`), (id) => ({ name: 'files', does: 'delete', id })],
  ['GET', path(`files/${ID}/content`), (id) => ({ name: 'files', does: 'content', id })],
];

function path(pattern: string): RegExp {
  return new RegExp(`/v1/${pattern}$`);
}

/**
 * Finds the route of a request; anything before `/v1` counts as the path of the base URL.
 * @throws ApiError 404 for a path that the API does not have.
 */
export function routeOf(method: string, pathname: string): Route {
  const bare = pathname.replace(/\/$/, '');
  for (const [allowed, pattern, route] of ROUTES) {
    const match = method === allowed && pattern.exec(bare);
    if (match) return route(decodedSegment(match[1] ?? ''));
  }
  throw new ApiError(404, 'Not found');
}

function decodedSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
