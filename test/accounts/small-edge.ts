import { reset } from 'cloudflare:test';
import { afterEach } from 'vitest';
import { type Sent, type TestApp, testApp } from '../support/app.ts';
import { DEPLOYED } from '../support/tokens.ts';
import { MESSAGE } from './small-request.ts';

let apps: TestApp[] = [];

/** @returns an edge whose upstream gives the small answer. After each test it is settled, and all storage is emptied. */
export function smallEdge(vars: Record<string, unknown> = {}): TestApp {
  const answer = ({ url }: Sent) =>
    Response.json(url.pathname.endsWith('/count_tokens') ? { input_tokens: 9 } : MESSAGE);
  const app = testApp(answer, { ...DEPLOYED, ...vars });
  apps.push(app);
  return app;
}

afterEach(async () => {
  for (const app of apps) await app.settled();
  apps = [];
  await reset();
});
