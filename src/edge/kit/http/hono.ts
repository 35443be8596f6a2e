import type { Env } from 'hono';
import { HonoBase } from 'hono/hono-base';
import { TrieRouter } from 'hono/router/trie-router';

/**
 * Hono with only one router. The usual one tries two and keeps the faster one, which costs some milliseconds in the first
 * request of an isolate.
 */
export class Hono<E extends Env> extends HonoBase<E> {
  constructor() {
    super();
    this.router = new MemoizingRouter();
  }
}

/** Remembers the results for paths without parameters, such as `/v1/messages`. Most requests have such paths. */
class MemoizingRouter<T> extends TrieRouter<T> {
  /** Routes that are not in the tree yet. An app whose routes are all taken into another one needs none. */
  #addedRoutes: [method: string, path: string, handler: T][] = [];
  readonly #fixed = new Set<string>();
  readonly #foundMatches = new Map<string, ReturnType<TrieRouter<T>['match']>>();

  override add(method: string, path: string, handler: T): void {
    this.#addedRoutes.push([method, path, handler]);
    this.#foundMatches.clear();
  }

  override match(method: string, path: string): ReturnType<TrieRouter<T>['match']> {
    this.#buildTrieRouter();
    const key = `${method} ${path}`;
    const found = this.#foundMatches.get(key) ?? super.match(method, path);
    if (this.#fixed.has(path)) this.#foundMatches.set(key, found);
    return found;
  }

  #buildTrieRouter(): void {
    if (this.#addedRoutes.length === 0) return;
    for (const [method, path, handler] of this.#addedRoutes) {
      super.add(method, path, handler);
      if (!/[:*]/.test(path)) this.#fixed.add(path);
    }
    this.#addedRoutes = [];
  }
}
