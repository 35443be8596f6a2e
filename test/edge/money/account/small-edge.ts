import { onTestFinished } from 'vitest';
import { createTestApp, type SentRequest, type TestApp, waitForAllApps } from '#test/support/app.ts';
import { resetAll } from '#test/support/reset.ts';
import { DEPLOYED_VARS } from '#test/support/tokens.ts';
import { MESSAGE } from './small-request.ts';

/** @returns an edge whose upstream gives the small answer. After the test it is settled, and all storage is emptied. */
export function smallEdge(vars: Record<string, unknown> = {}): TestApp {
  const answer = ({ url }: SentRequest) =>
    Response.json(url.pathname.endsWith('/count_tokens') ? { input_tokens: 9 } : MESSAGE);
  const app = createTestApp(answer, { ...DEPLOYED_VARS, ...vars });
  // A hook of this file would hold for the first test file alone that imports it: others share its isolate.
  onTestFinished(async () => {
    await waitForAllApps();
    await resetAll();
  });
  return app;
}
