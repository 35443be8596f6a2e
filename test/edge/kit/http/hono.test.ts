import fc from 'fast-check';
import { Hono as UsualHono } from 'hono';
import { TrieRouter } from 'hono/router/trie-router';
import type { BlankEnv } from 'hono/types';
import { expect, test } from 'vitest';
import { Hono } from '#edge/kit/http/hono.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';

const PATHS = ['/', '/a', '/a/', '/a/b', '/a/:id', '/a/:id/b', '/a/*', '*', '/b/:name{[a-z]+}', '/b/c'];
const METHODS = ['GET', 'POST', 'DELETE'];
const route = fc.record({ method: fc.constantFrom(...METHODS), path: fc.constantFrom(...PATHS) });
const asked = fc.record({
  method: fc.constantFrom(...METHODS, 'HEAD'),
  path: fc.constantFrom('/', '/a', '/a/', '/a/b', '/a/x', '/a/x/b', '/b/c', '/b/abc', '/b/1', '/:id', '/a/:id', '/a/*'),
});

test('dispatches every request like Hono’s trie router, for any routes and earlier requests', async () => {
  await tryAsyncCases(
    100,
    fc.array(route, { maxLength: 8 }),
    fc.array(route, { maxLength: 2 }),
    fc.array(asked, { minLength: 1, maxLength: 12 }),
    async (routes, late, requests) => {
      const usual = new UsualHono({ router: new TrieRouter() });
      const own = new Hono<BlankEnv>();
      const add = (routes: { method: string; path: string }[], when: string) => {
        for (const app of [own, usual] as UsualHono[]) {
          routes.forEach(({ method, path }, index) => {
            app.on(method, path, async (c, next) => {
              await next();
              const told = `${when} ${index} ${JSON.stringify(c.req.param())}`;
              c.res = new Response(c.finalized ? `${await c.res.text()}, ${told}` : told);
            });
          });
        }
      };
      add(routes, 'first');
      for (const [n, { method, path }] of requests.entries()) {
        if (n === 1) add(late, 'late');
        const [given, expected] = await Promise.all([own, usual].map((app) => app.request(path, { method })));
        expect(await given?.text()).toBe(await expected?.text());
      }
    },
  );
});
