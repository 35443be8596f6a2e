import { ApiError } from './request/errors.ts';

/** The route of a request. `id` is empty if none is named. */
export type SimulatorRoute =
  | { name: 'messages' | 'count' | 'models' }
  | { name: 'model'; id: string }
  | { name: 'batches'; does: 'create' | 'list' | 'retrieve' | 'cancel' | 'delete' | 'results'; id: string }
  | { name: 'files'; does: 'upload' | 'list' | 'retrieve' | 'delete' | 'content'; id: string };

const ID = '([^/]+)';

const ROUTES: readonly (readonly [string, RegExp, (id: string) => SimulatorRoute])[] = [
  ['POST', compilePathPattern('messages'), () => ({ name: 'messages' })],
  ['POST', compilePathPattern('messages/count_tokens'), () => ({ name: 'count' })],
  ['GET', compilePathPattern('models'), () => ({ name: 'models' })],
  ['GET', compilePathPattern(`models/${ID}`), (id) => ({ name: 'model', id })],
  ['POST', compilePathPattern('messages/batches'), (id) => ({ name: 'batches', does: 'create', id })],
  ['GET', compilePathPattern('messages/batches'), (id) => ({ name: 'batches', does: 'list', id })],
  ['GET', compilePathPattern(`messages/batches/${ID}`), (id) => ({ name: 'batches', does: 'retrieve', id })],
  ['DELETE', compilePathPattern(`messages/batches/${ID}`), (id) => ({ name: 'batches', does: 'delete', id })],
  ['POST', compilePathPattern(`messages/batches/${ID}/cancel`), (id) => ({ name: 'batches', does: 'cancel', id })],
  ['GET', compilePathPattern(`messages/batches/${ID}/results`), (id) => ({ name: 'batches', does: 'results', id })],
  ['POST', compilePathPattern('files'), (id) => ({ name: 'files', does: 'upload', id })],
  ['GET', compilePathPattern('files'), (id) => ({ name: 'files', does: 'list', id })],
  ['GET', compilePathPattern(`files/${ID}`), (id) => ({ name: 'files', does: 'retrieve', id })],
  ['DELETE', compilePathPattern(`files/${ID}`), (id) => ({ name: 'files', does: 'delete', id })],
  ['GET', compilePathPattern(`files/${ID}/content`), (id) => ({ name: 'files', does: 'content', id })],
];

function compilePathPattern(pattern: string): RegExp {
  return new RegExp(`/v1/${pattern}$`);
}

/**
 * Finds the route of a request; anything before `/v1` counts as the path of the base URL.
 * @throws ApiError 404 for a path that the API does not have.
 */
export function requireRoute(method: string, pathname: string): SimulatorRoute {
  const bare = pathname.replace(/\/$/, '');
  for (const [allowed, pattern, route] of ROUTES) {
    const match = method === allowed && pattern.exec(bare);
    if (match) return route(decodePathSegment(match[1] ?? ''));
  }
  throw new ApiError(404, 'Not found');
}

function decodePathSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
