import { onTestFinished } from 'vitest';
import { type Sent, settledApps, type TestApp, testApp } from '#test/support/app.ts';
import { resetAll } from '#test/support/reset.ts';
import { DEPLOYED } from '#test/support/tokens.ts';
import { MESSAGE } from './small-request.ts';

/** @returns an edge whose upstream gives the small answer. After the test it is settled, and all storage is emptied. */
export function smallEdge(vars: Record<string, unknown> = {}): TestApp {
  const answer = ({ url }: Sent) =>
    Response.json(url.pathname.endsWith('/count_tokens') ? { input_tokens: 9 } : MESSAGE);
  const app = testApp(answer, { ...DEPLOYED, ...vars });
  // A hook of this file would hold for the first test file alone that imports it: others share its isolate.
  onTestFinished(async () => {
    await settledApps();
    await resetAll();
  });
  return app;
}
