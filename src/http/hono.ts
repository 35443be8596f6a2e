import type { Env } from 'hono';
import { HonoBase } from 'hono/hono-base';
import { TrieRouter } from 'hono/router/trie-router';

/**
 * Hono with one router. The usual one tries two and keeps the faster: that is a matter of microseconds for a request, and
 * of milliseconds for the first of an isolate.
 */
export class Hono<E extends Env> extends HonoBase<E> {
  constructor() {
    super();
    this.router = new TrieRouter();
  }
}
